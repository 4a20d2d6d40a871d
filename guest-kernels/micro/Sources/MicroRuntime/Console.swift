// SPDX-License-Identifier: Apache-2.0
import CMicro

/// COM1, a 16550, written to by polling. Ring 0 only.
public enum Console {
  private static let data: UInt16 = 0x3F8
  private static let interruptEnable = data + 1
  private static let lineControl = data + 3
  private static let lineStatus = data + 5
  private static let divisorAccess: UInt8 = 0x80
  private static let eightBits: UInt8 = 0x03
  private static let transmitterEmpty: UInt8 = 0x20

  /// 115200 baud, eight bits, no interrupts.
  static func prepare() {
    micro_out8(interruptEnable, 0)
    micro_out8(lineControl, divisorAccess)
    micro_out8(data, 1)
    micro_out8(interruptEnable, 0)
    micro_out8(lineControl, eightBits)
  }

  /// Writes `text` and a line end.
  public static func line(_ text: String) {
    for byte in text.utf8 { put(byte) }
    put(13)
    put(10)
  }

  private static func put(_ byte: UInt8) {
    while micro_in8(lineStatus) & transmitterEmpty == 0 {}
    micro_out8(data, byte)
  }
}

/// Tells the outcome of one check: `PASS name`, or `FAIL name reason`.
public func report(_ name: String, _ failure: String?) {
  if let failure {
    Console.line("FAIL \(name) \(failure)")
  } else {
    Console.line("PASS \(name)")
  }
}

/// `value` in hexadecimal, with 0x.
public func hex(_ value: UInt64) -> String {
  var digits = ""
  var shift = 60
  while shift > 0, value >> UInt64(shift) & 0xF == 0 { shift -= 4 }
  while shift >= 0 {
    let digit = UInt8(truncatingIfNeeded: value >> UInt64(shift) & 0xF)
    digits.unicodeScalars.append(UnicodeScalar(digit < 10 ? 48 + digit : 87 + digit))
    shift -= 4
  }
  return "0x" + digits
}
