// SPDX-License-Identifier: Apache-2.0
public import Foundation

/// A file tree in memory, written as an initramfs: cpio, "newc" format, everything owned by root.
///
/// Format: Documentation/driver-api/early-userspace/buffer-format.rst of Linux.
public struct Archive {
  /// What one entry of the tree is.
  public enum Content: Equatable, Sendable {
    case folder
    case file(URL)
    case bytes([UInt8])
    case link(String)
  }

  private struct Entry {
    var mode: UInt32
    var content: Content
  }

  /// Keyed by path without a leading slash.
  private var entries: [String: Entry] = [:]

  private static let folderMode: UInt32 = 0o040755
  private static let fileType: UInt32 = 0o100000
  private static let linkMode: UInt32 = 0o120777
  private static let trailer = "TRAILER!!!"

  public init() {}

  public func contains(_ path: String) -> Bool { entries[Archive.key(path)] != nil }

  /// Adds an entry, replacing what is there, and the folders above it.
  ///
  /// - Parameter permissions: twelve bits; ignored for links.
  public mutating func add(_ path: String, _ content: Content, permissions: UInt32 = 0o644) {
    let key = Archive.key(path)
    guard !key.isEmpty else { return }
    var parent = Archive.parent(of: key)
    while !parent.isEmpty && entries[parent] == nil {
      entries[parent] = Entry(mode: Archive.folderMode, content: .folder)
      parent = Archive.parent(of: parent)
    }
    let mode =
      switch content {
      case .folder: Archive.folderMode & ~0o7777 | permissions
      case .file, .bytes: Archive.fileType | permissions
      case .link: Archive.linkMode
      }
    entries[key] = Entry(mode: mode, content: content)
  }

  /// Adds everything below `folder`, except what starts with one of `excluded` (paths as in the
  /// image); anything that is not a file, a folder or a link is left out.
  public mutating func addTree(_ folder: URL, excluding excluded: [String] = []) throws {
    let names = try FileManager.default.subpathsOfDirectory(atPath: folder.path)
    for name in names where !excluded.contains(where: { isBelow(name, $0) }) {
      let source = folder.appending(path: name)
      let information = try fileStatus(source)
      let permissions = information.mode & 0o7777
      switch information.mode & 0o170000 {
      case 0o040000: add(name, .folder, permissions: permissions)
      case 0o100000: add(name, .file(source), permissions: permissions)
      case 0o120000:
        let target = try FileManager.default.destinationOfSymbolicLink(atPath: source.path)
        add(name, .link(target))
      default: continue
      }
    }
  }

  /// Writes the archive; nobody sees half of it.
  public func write(to target: URL) throws {
    let fresh = target.deletingLastPathComponent().appending(
      path: ".\(target.lastPathComponent).\(getpid())")
    try Data().write(to: fresh)
    let output = try FileHandle(forWritingTo: fresh)
    var number: UInt32 = 1
    for (path, entry) in entries.sorted(by: { $0.key < $1.key }) {
      let data = try Archive.data(of: entry.content)
      try output.write(contentsOf: Archive.record(path, entry.mode, number, data))
      number += 1
    }
    try output.write(contentsOf: Archive.record(Archive.trailer, 0, 0, Data()))
    try output.close()
    try move(fresh, over: target)
  }

  private static func key(_ path: String) -> String {
    path.split(separator: "/").filter { $0 != "." }.joined(separator: "/")
  }

  /// The folder that holds `key`; empty for the root.
  private static func parent(of key: String) -> String {
    key.split(separator: "/").dropLast().joined(separator: "/")
  }

  private static func data(of content: Content) throws -> Data {
    switch content {
    case .folder: Data()
    case .file(let source): try Data(contentsOf: source)
    case .bytes(let bytes): Data(bytes)
    case .link(let target): Data(target.utf8)
    }
  }

  /// Header, name and data, each padded to four bytes.
  private static func record(_ name: String, _ mode: UInt32, _ number: UInt32, _ data: Data) -> Data
  {
    let links: UInt32 = mode & 0o170000 == 0o040000 ? 2 : 1
    let size = UInt32(truncatingIfNeeded: data.count)
    let nameSize = UInt32(name.utf8.count + 1)
    // ino, mode, uid, gid, nlink, mtime, filesize, device and special-device numbers, namesize, check
    let fields: [UInt32] = [number, mode, 0, 0, links, 0, size, 0, 0, 0, 0, nameSize, 0]
    var record = Data("070701".utf8)
    for field in fields { record += Data(String(format: "%08x", field).utf8) }
    record += Data(name.utf8) + [0]
    pad(&record)
    record += data
    pad(&record)
    return record
  }

  private static func pad(_ data: inout Data) {
    data += Data(repeating: 0, count: (4 - data.count % 4) % 4)
  }
}

private func isBelow(_ name: String, _ excluded: String) -> Bool {
  name == excluded || name.hasPrefix(excluded + "/")
}

private func fileStatus(_ file: URL) throws -> (mode: UInt32, size: Int) {
  var status = stat()
  // SAFETY: `status` outlives the call.
  guard unsafe lstat(file.path, &status) == 0 else { throw systemFailure("lstat \(file.path)") }
  return (status.st_mode, Int(status.st_size))
}
