// SPDX-License-Identifier: Apache-2.0

/// One ACPI table: the common header and whatever follows (ACPI 6.4, 5.2.6).
struct ACPITable {
  private(set) var bytes: [UInt8]

  static let headerByteCount = 36
  private static let lengthOffset = 4
  private static let checksumOffset = 9
  private static let creator = Array("VOS ".utf8)
  private static let oemID = Array("VOS   ".utf8)
  private static let oemTableID = Array("VOSDOM  ".utf8)

  /// A table of `signature` with `body` after its header.
  init(_ signature: String, revision: UInt8, body: [UInt8]) {
    bytes = Array(signature.utf8)
    bytes.append(littleEndian: 0 as UInt32)  // length, set by seal()
    bytes += [revision, 0]
    bytes += Self.oemID + Self.oemTableID
    bytes.append(littleEndian: 1 as UInt32)  // OEM revision
    bytes += Self.creator
    bytes.append(littleEndian: 1 as UInt32)  // creator revision
    bytes += body
    seal()
  }

  private mutating func seal() {
    bytes.store(UInt32(bytes.count), at: Self.lengthOffset)
    bytes[Self.checksumOffset] = 0
    bytes[Self.checksumOffset] = complement(of: bytes)
  }
}

/// What must be added to `bytes` so that they sum up to zero.
func complement(of bytes: some Sequence<UInt8>) -> UInt8 {
  0 &- bytes.reduce(0, &+)
}

/// A generic address structure: a register's place (ACPI 6.4, 5.2.3.2).
struct ACPIRegister {
  let port: UInt16

  private static let systemIO: UInt8 = 1
  private static let byteAccess: UInt8 = 1

  /// Twelve bytes for an 8-bit register at `port`.
  var encoded: [UInt8] {
    var bytes: [UInt8] = [Self.systemIO, 8, 0, Self.byteAccess]
    bytes.append(littleEndian: UInt64(port))
    return bytes
  }
}
