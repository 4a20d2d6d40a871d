// SPDX-License-Identifier: Apache-2.0

// Read by the host's benchmark and, by a link, by the micro guests that it runs.

/// The first bytes of slice 0's arena while copies are measured: the host gives the client one order
/// after another. Offsets of 64-bit words; host and client write lines of their own.
public enum CopyPage {
  /// Written by the host, last of an order: the order's number, from 1 on.
  public static let order = 0
  /// Bytes that one read asks for; 0 ends the client.
  public static let blockBytes = 8
  /// How often the file is read from begin to end.
  public static let transfers = 16
  /// What the file's bytes are made from; 0: they stay, and what is read is not looked at.
  public static let seed = 24
  /// Written by the client, last of an answer: the number of the order.
  public static let answer = 64
  /// The median of the transfers, in ticks.
  public static let ticks = 72
  /// Bytes that were not what they should be; all ones if a read failed.
  public static let wrongBytes = 80
  /// Written by the client while it waits for an order: its time stamp counter.
  public static let clock = 128
  /// Bytes in use; the rest of the first page is free, data begins behind it.
  public static let byteCount = 192
  public static let dataOffset = 4096

  /// Bytes of the file.
  public static let fileBytes = 16 << 20
  /// The longest block.
  public static let maximumBlockBytes = 2 << 20
  /// The number by which reads name the file.
  public static let file: UInt64 = 1

  /// Byte `offset` of a file made from `seed`.
  public static func byte(at offset: Int, seed: UInt64) -> UInt8 {
    UInt8(truncatingIfNeeded: word(offset >> 3, seed: seed) >> (UInt64(offset & 7) * 8))
  }

  /// Bytes `8 * index` to `8 * index + 7`, little endian: splitmix64 of the index.
  public static func word(_ index: Int, seed: UInt64) -> UInt64 {
    var value = (UInt64(truncatingIfNeeded: index) &+ 1) &* 0x9E37_79B9_7F4A_7C15 &+ seed
    value = (value ^ value >> 30) &* 0xBF58_476D_1CE4_E5B9
    value = (value ^ value >> 27) &* 0x94D0_49BB_1331_11EB
    return value ^ value >> 31
  }
}

extension BenchCall {
  /// Fills the file with the bytes that `argument[0]` gives as seed.
  public static let fill: UInt16 = 0x1F03
}
