// SPDX-License-Identifier: Apache-2.0
import CFDT

/// Writes one flattened device tree from front to back into a buffer of fixed size.
///
/// Running out of room is no error but remembered, so that the caller tries again with more.
@safe struct TreeWriter: ~Copyable {
  private let buffer: UnsafeMutableRawBufferPointer
  private(set) var isFull = false

  init(capacity: Int) throws(DeviceTreeError) {
    // SAFETY: freed in deinit, used only within its bounds by libfdt, which is told its size.
    unsafe buffer = .allocate(byteCount: capacity, alignment: 8)
    try check("create", unsafe fdt_create(buffer.baseAddress, Int32(capacity)))
    try check("finish_reservemap", unsafe fdt_finish_reservemap(buffer.baseAddress))
  }

  deinit { unsafe buffer.deallocate() }

  private mutating func check(_ operation: String, _ code: Int32) throws(DeviceTreeError) {
    if code == -FDT_ERR_NOSPACE {
      isFull = true
    } else if code < 0 && !isFull {
      throw .library(operation, code: code)
    }
  }

  /// Opens node `name`, lets `body` fill it and closes it.
  mutating func node(
    _ name: String, _ body: (inout TreeWriter) throws(DeviceTreeError) -> Void
  ) throws(DeviceTreeError) {
    // SAFETY: buffer holds an unfinished tree; libfdt keeps to the size given to fdt_create.
    try check("begin node \(name)", unsafe fdt_begin_node(buffer.baseAddress, name))
    try body(&self)
    try check("end node \(name)", unsafe fdt_end_node(buffer.baseAddress))
  }

  private mutating func property(_ name: String, bytes: [UInt8]) throws(DeviceTreeError) {
    let code = unsafe bytes.withUnsafeBytes { value in
      // SAFETY: as in node(); value lives through the call and its length goes with it.
      unsafe fdt_property(buffer.baseAddress, name, value.baseAddress, Int32(value.count))
    }
    try check("property \(name)", code)
  }

  /// A 32-bit cell.
  mutating func property(_ name: String, _ value: UInt32) throws(DeviceTreeError) {
    try property(name, bytes: Self.bigEndian(value))
  }

  /// Two cells, high one first.
  mutating func property(_ name: String, _ value: UInt64) throws(DeviceTreeError) {
    try property(name, bytes: Self.bigEndian(value))
  }

  private static func bigEndian<T: FixedWidthInteger>(_ value: T) -> [UInt8] {
    stride(from: T.bitWidth - 8, through: 0, by: -8).map {
      UInt8(truncatingIfNeeded: value >> $0)
    }
  }

  /// A list of NUL-terminated strings; nothing at all if it is empty.
  mutating func property(_ name: String, _ values: [String]) throws(DeviceTreeError) {
    guard !values.isEmpty else { return }
    var bytes: [UInt8] = []
    for value in values {
      guard !value.utf8.contains(0) else { throw .holdsNUL(property: name) }
      bytes += Array(value.utf8) + [0]
    }
    try property(name, bytes: bytes)
  }

  /// One string; nothing at all for nil.
  mutating func property(_ name: String, _ value: String?) throws(DeviceTreeError) {
    if let value { try property(name, [value]) }
  }

  /// Closes the tree and returns its bytes; nil if the buffer was too small.
  consuming func finished() throws(DeviceTreeError) -> [UInt8]? {
    try check("finish", unsafe fdt_finish(buffer.baseAddress))
    if isFull { return nil }
    // SAFETY: fdt_finish has set totalsize, which is at most the buffer's size.
    let count = unsafe fdt_header_totalsize(buffer)
    return unsafe [UInt8](buffer.prefix(count))
  }
}

/// The header's total size: the second big-endian word (Devicetree Specification 0.4, 5.2).
private func fdt_header_totalsize(_ blob: UnsafeMutableRawBufferPointer) -> Int {
  // SAFETY: the caller's blob is a finished tree, so longer than its header.
  unsafe Int(UInt32(bigEndian: blob.load(fromByteOffset: 4, as: UInt32.self)))
}
