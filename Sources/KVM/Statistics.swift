// SPDX-License-Identifier: Apache-2.0
internal import CLinux
public import LinuxSystem

/// KVM's self-describing binary statistics of a machine or a CPU (api.rst, 4.133).
public struct Statistics: ~Copyable, Sendable {
  /// Readable by any process that holds it.
  public let descriptor: OwnedDescriptor
  /// Where each named value lies, relative to the data block.
  private let offsets: [String: Int]
  private let dataOffset: Int

  private enum Layout {
    static let headerByteCount = 24
    /// flags, exponent, size, offset, bucket size; then the name.
    static let descriptorByteCount = 16
    static let maximumDescriptors = 1024
    static let maximumNameByteCount = 256
  }

  init(of object: borrowing OwnedDescriptor) throws(KVMError) {
    let number = try kvmCall("open statistics") { [object = object.rawValue] in
      clinux_ioctl(object, CLINUX_KVM_GET_STATS_FD, 0)
    }
    try self.init(owning: OwnedDescriptor(owning: number))
  }

  /// Takes a descriptor of statistics and reads what it describes.
  public init(owning descriptor: consuming OwnedDescriptor) throws(KVMError) {
    let header = try Self.read(descriptor, at: 0, count: Layout.headerByteCount)
    let nameByteCount = Int(header.word(4))
    let count = Int(header.word(8))
    let first = Int(header.word(16))
    let dataOffset = Int(header.word(20))
    guard nameByteCount <= Layout.maximumNameByteCount, count <= Layout.maximumDescriptors else {
      throw .malformed("statistics")
    }
    let stride = Layout.descriptorByteCount + nameByteCount
    let table = try Self.read(descriptor, at: first, count: count * stride)
    var offsets: [String: Int] = [:]
    for index in 0..<count {
      let start = index * stride
      let name = table[(start + Layout.descriptorByteCount)..<(start + stride)].prefix { $0 != 0 }
      offsets[String(decoding: name, as: UTF8.self)] = Int(table.word(start + 8))
    }
    self.offsets = offsets
    self.dataOffset = dataOffset
    self.descriptor = descriptor
  }

  /// The names of all values.
  public var names: [String] { offsets.keys.sorted() }

  /// The value called `name`, such as `exits`; `nil` if there is none.
  public func value(_ name: String) throws(KVMError) -> UInt64? {
    guard let offset = offsets[name] else { return nil }
    let bytes = try Self.read(descriptor, at: dataOffset + offset, count: 8)
    return UInt64(bytes.word(0)) | UInt64(bytes.word(4)) << 32
  }

  private static func read(
    _ descriptor: borrowing OwnedDescriptor, at offset: Int, count: Int
  ) throws(KVMError) -> [UInt8] {
    do {
      let bytes = try descriptor.read(maximum: count, at: offset)
      guard bytes.count == count else { throw KVMError.malformed("statistics cut short") }
      return bytes
    } catch let error as SystemCallError {
      throw .call(error)
    } catch let error as KVMError {
      throw error
    } catch {
      throw .malformed("an error")
    }
  }
}

extension [UInt8] {
  /// The little-endian 32-bit word at `offset`, which the caller knows to lie within.
  fileprivate func word(_ offset: Int) -> UInt32 {
    (0..<4).reduce(0) { $0 | UInt32(self[offset + $1]) << UInt32(8 * $1) }
  }
}
