// SPDX-License-Identifier: Apache-2.0
public import Foundation

/// Remembers what a step was made from, so that it is skipped while that stays the same.
public struct Stamp: Sendable {
  private let file: URL

  public init(_ workspace: Workspace, _ name: String) throws {
    file = try workspace.makeFolder(workspace.stamps).appending(path: name)
  }

  public func matches(_ inputs: String) -> Bool {
    (try? String(contentsOf: file, encoding: .utf8)) == inputs
  }

  public func write(_ inputs: String) throws {
    try Data(inputs.utf8).write(to: file, options: .atomic)
  }

  public func forget() { try? FileManager.default.removeItem(at: file) }
}

/// Path, size and time of modification of each file at or below `places`, one a line, sorted.
///
/// Build folders and hidden files are left out. A missing place gives a line too.
public func fingerprint(_ places: [URL], ignoring suffixes: [String] = []) -> String {
  var lines: [String] = []
  for place in places {
    guard exists(place) else {
      lines.append("\(place.path) missing")
      continue
    }
    lines.append(describe(place))
    let options: FileManager.DirectoryEnumerationOptions = [.skipsHiddenFiles]
    let keys: [URLResourceKey] = [.isDirectoryKey, .fileSizeKey, .contentModificationDateKey]
    let walk = FileManager.default.enumerator(
      at: place, includingPropertiesForKeys: keys, options: options)
    while let file = walk?.nextObject() as? URL {
      let isFolder = (try? file.resourceValues(forKeys: [.isDirectoryKey]))?.isDirectory ?? false
      if isFolder || suffixes.contains(where: file.path.hasSuffix) { continue }
      lines.append(describe(file))
    }
  }
  return lines.sorted().joined(separator: "\n") + "\n"
}

private func describe(_ file: URL) -> String {
  let values = try? file.resourceValues(forKeys: [
    .isDirectoryKey, .fileSizeKey, .contentModificationDateKey,
  ])
  guard values?.isDirectory == false else { return "\(file.path) folder" }
  let time = values?.contentModificationDate?.timeIntervalSince1970 ?? 0
  return "\(file.path) \(values?.fileSize ?? 0) \(time)"
}
