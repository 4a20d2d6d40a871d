// SPDX-License-Identifier: Apache-2.0
import CFDT

/// A flattened device tree that libfdt has checked from end to end; its own copy of the blob.
@safe struct TreeReader: ~Copyable {
  private let blob: UnsafeMutableRawBufferPointer

  /// A node: where it is, and its path for errors.
  struct Node {
    fileprivate let offset: Int32
    let path: String
  }

  /// Copies `bytes`, which may be anything, and checks all of them.
  init(_ bytes: [UInt8]) throws(DeviceTreeError) {
    // SAFETY: freed in deinit; libfdt wants 8-byte alignment; fdt_check_full stays within the
    // size it is given whatever the bytes are.
    unsafe blob = .allocate(byteCount: max(bytes.count, 8), alignment: 8)
    unsafe blob.initializeMemory(as: UInt8.self, repeating: 0)
    unsafe blob.copyBytes(from: bytes)
    let code = unsafe fdt_check_full(blob.baseAddress, bytes.count)
    guard code == 0 else { throw .library("check", code: code) }
  }

  deinit { unsafe blob.deallocate() }

  /// The node at `path`, or nil.
  func node(_ path: String) throws(DeviceTreeError) -> Node? {
    // SAFETY: the blob passed fdt_check_full, so every offset in it is good.
    let offset = unsafe fdt_path_offset(blob.baseAddress, path)
    if offset == -FDT_ERR_NOTFOUND { return nil }
    guard offset >= 0 else { throw .library("find \(path)", code: offset) }
    return Node(offset: offset, path: path)
  }

  /// The node at `path`, or an error.
  func requiredNode(_ path: String) throws(DeviceTreeError) -> Node {
    guard let node = try node(path) else { throw .missingNode(path) }
    return node
  }

  /// The nodes right below `parent`, in the blob's order.
  func children(of parent: Node) throws(DeviceTreeError) -> [Node] {
    var nodes: [Node] = []
    var offset = unsafe fdt_first_subnode(blob.baseAddress, parent.offset)
    while offset >= 0 {
      // SAFETY: checked blob; fdt_get_name returns a NUL-terminated string inside it or nil.
      if let name = unsafe fdt_get_name(blob.baseAddress, offset, nil) {
        let path = unsafe parent.path + "/" + String(cString: name)
        nodes.append(Node(offset: offset, path: path))
      }
      offset = unsafe fdt_next_subnode(blob.baseAddress, offset)
    }
    guard offset == -FDT_ERR_NOTFOUND else { throw .library("walk", code: offset) }
    return nodes
  }

  /// A property's bytes, or nil.
  private func bytes(_ name: String, of node: Node) -> [UInt8]? {
    var length: Int32 = 0
    // SAFETY: checked blob; the result points to `length` bytes inside it.
    guard let value = unsafe fdt_getprop(blob.baseAddress, node.offset, name, &length),
      length >= 0
    else { return nil }
    return unsafe [UInt8](UnsafeRawBufferPointer(start: value, count: Int(length)))
  }

  private func requiredBytes(
    _ name: String, of node: Node, count: Int, expected: String
  ) throws(DeviceTreeError) -> [UInt8] {
    guard let bytes = bytes(name, of: node) else {
      throw .missingProperty(name, node: node.path)
    }
    guard bytes.count == count else {
      throw .badProperty(name, node: node.path, expected: expected)
    }
    return bytes
  }

  /// One 32-bit cell.
  func cell(_ name: String, of node: Node) throws(DeviceTreeError) -> UInt32 {
    let bytes = try requiredBytes(name, of: node, count: 4, expected: "one cell")
    return bytes.reduce(0) { $0 << 8 | UInt32($1) }
  }

  /// Two 32-bit cells, the high one first.
  func twoCells(_ name: String, of node: Node) throws(DeviceTreeError) -> UInt64 {
    let bytes = try requiredBytes(name, of: node, count: 8, expected: "two cells")
    return bytes.reduce(0) { $0 << 8 | UInt64($1) }
  }

  /// NUL-terminated UTF-8 strings; empty if the property is missing.
  func strings(_ name: String, of node: Node) throws(DeviceTreeError) -> [String] {
    guard let bytes = bytes(name, of: node), !bytes.isEmpty else { return [] }
    guard bytes.last == 0 else {
      throw .badProperty(name, node: node.path, expected: "a list of strings")
    }
    var values: [String] = []
    for part in bytes.dropLast().split(separator: 0, omittingEmptySubsequences: false) {
      guard let value = String(validating: part, as: UTF8.self) else {
        throw .badProperty(name, node: node.path, expected: "UTF-8")
      }
      values.append(value)
    }
    return values
  }

  /// One string, or nil if the property is missing.
  func optionalString(_ name: String, of node: Node) throws(DeviceTreeError) -> String? {
    let values = try strings(name, of: node)
    guard values.count <= 1 else {
      throw .badProperty(name, node: node.path, expected: "one string")
    }
    return values.first
  }

  /// One string.
  func string(_ name: String, of node: Node) throws(DeviceTreeError) -> String {
    guard let value = try optionalString(name, of: node) else {
      throw .missingProperty(name, node: node.path)
    }
    return value
  }

  /// One of a few words.
  func word<Word: RawRepresentable & CaseIterable>(
    _ name: String, of node: Node, as _: Word.Type
  ) throws(DeviceTreeError) -> Word where Word.RawValue == String {
    guard let word = Word(rawValue: try string(name, of: node)) else {
      throw .badProperty(name, node: node.path, expected: expectation(Word.self))
    }
    return word
  }
}

/// "one of a, b, c" for errors.
func expectation<Word: RawRepresentable & CaseIterable>(_: Word.Type) -> String
where Word.RawValue == String {
  "one of " + Word.allCases.map(\.rawValue).joined(separator: ", ")
}
