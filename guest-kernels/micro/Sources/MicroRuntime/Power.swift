// SPDX-License-Identifier: Apache-2.0
import CMicro

/// ACPI as far as a micro guest needs it: find a table, power off.
public enum ACPI {
  /// The address of the table with `signature`, found by way of the RSDP; nil if there is none.
  public static func table(_ signature: StaticString, rsdp: UInt64) -> UInt64? {
    guard rsdp != 0 else { return nil }
    let isExtended = Memory.load(UInt8.self, at: rsdp + 15) >= 2
    let xsdt = isExtended ? Memory.load(UInt64.self, at: rsdp + 24) : 0
    let root = xsdt != 0 ? xsdt : UInt64(Memory.load(UInt32.self, at: rsdp + 16))
    guard root != 0 else { return nil }
    let entryByteCount: UInt64 = xsdt != 0 ? 8 : 4
    var entry = root + headerByteCount
    let end = root + UInt64(Memory.load(UInt32.self, at: root + 4))
    while entry + entryByteCount <= end {
      let table =
        xsdt != 0
        ? Memory.load(UInt64.self, at: entry) : UInt64(Memory.load(UInt32.self, at: entry))
      if has(signature, at: table) { return table }
      entry += entryByteCount
    }
    return nil
  }

  private static let headerByteCount: UInt64 = 36

  private static func has(_ signature: StaticString, at table: UInt64) -> Bool {
    // SAFETY: signatures are literals of four bytes.
    let word = unsafe UnsafeRawPointer(signature.utf8Start).loadUnaligned(as: UInt32.self)
    return table != 0 && Memory.load(UInt32.self, at: table) == word
  }

  /// Whether the bytes of the table at `address` sum up to zero.
  public static func sumIsZero(_ address: UInt64) -> Bool {
    var sum: UInt8 = 0
    for offset in 0..<UInt64(Memory.load(UInt32.self, at: address + 4)) {
      sum = sum &+ Memory.load(UInt8.self, at: address + offset)
    }
    return sum == 0
  }
}

/// Fields of the FADT (ACPI 6.4, 5.2.9).
private enum FADT {
  static let pm1aControl: UInt64 = 64
  static let flags: UInt64 = 112
  static let sleepControlAddress: UInt64 = 244 + 4
  static let hardwareReduced: UInt32 = 1 << 20
}

/// Powers the machine off; does not return.
///
/// With hardware-reduced ACPI by the sleep control register, whose S5 is type 5 on vos; else by PM1a,
/// whose S5 is type 0 on QEMU. A guest that wants no AML interpreter has to know these.
public func powerOff() -> Never {
  if let info = StartInfo(), let fadt = ACPI.table("FACP", rsdp: info.rsdp) {
    if Memory.load(UInt32.self, at: fadt + FADT.flags) & FADT.hardwareReduced != 0 {
      let port = Memory.load(UInt64.self, at: fadt + FADT.sleepControlAddress)
      micro_out8(UInt16(truncatingIfNeeded: port), 5 << 2 | 1 << 5)
    } else {
      let port = Memory.load(UInt32.self, at: fadt + FADT.pm1aControl)
      micro_out16(UInt16(truncatingIfNeeded: port), 1 << 13)
    }
  }
  while true { micro_halt() }
}

@c(micro_end_of_main)
public func endOfMain() {
  Console.line("DONE")
  powerOff()
}
