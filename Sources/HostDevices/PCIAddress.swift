// SPDX-License-Identifier: Apache-2.0

/// Where a PCI function is on the host: `0000:01:00.0`.
public struct PCIAddress: Hashable, Comparable, Sendable, LosslessStringConvertible {
  public let segment: UInt16
  public let bus: UInt8
  /// 0–31.
  public let slot: UInt8
  /// 0–7.
  public let function: UInt8

  public init(segment: UInt16, bus: UInt8, slot: UInt8, function: UInt8) {
    self.segment = segment
    self.bus = bus
    self.slot = slot & 31
    self.function = function & 7
  }

  /// Reads `0000:01:00.0`, or `01:00.0` for segment 0.
  public init?(_ description: String) {
    let parts = description.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 2 || parts.count == 3, let last = parts.last else { return nil }
    let place = last.split(separator: ".", omittingEmptySubsequences: false)
    guard
      place.count == 2, let slot = Self.hex(place[0], digits: 2), slot < 32,
      let function = Self.hex(place[1], digits: 1), function < 8,
      let bus = Self.hex(parts[parts.count - 2], digits: 2),
      let segment = parts.count == 3 ? Self.hex(parts[0], digits: 4) : 0
    else { return nil }
    self.init(
      segment: UInt16(segment), bus: UInt8(bus), slot: UInt8(slot), function: UInt8(function))
  }

  private static func hex(_ text: Substring, digits: Int) -> Int? {
    guard text.utf8.count == digits, text.allSatisfy(\.isHexDigit) else { return nil }
    return Int(text, radix: 16)
  }

  public var description: String {
    func pad(_ value: some BinaryInteger, _ digits: Int) -> String {
      let text = String(value, radix: 16)
      return String(repeating: "0", count: max(0, digits - text.utf8.count)) + text
    }
    return "\(pad(segment, 4)):\(pad(bus, 2)):\(pad(slot, 2)).\(function)"
  }

  public static func < (a: PCIAddress, b: PCIAddress) -> Bool {
    (a.segment, a.bus, a.slot, a.function) < (b.segment, b.bus, b.slot, b.function)
  }
}
