// SPDX-License-Identifier: Apache-2.0
public import Foundation

/// The checkout: where sources are, and where products go.
public struct Workspace: Sendable {
  public let root: URL

  /// Finds the checkout from its `tools/dev`, which sets `VOS_ROOT`.
  public init() throws {
    let given = ProcessInfo.processInfo.environment["VOS_ROOT"]
    root = URL(fileURLWithPath: given ?? FileManager.default.currentDirectoryPath)
    guard FileManager.default.fileExists(atPath: root.appending(path: "tools/dev").path) else {
      throw Failure("no checkout at \(root.path): start this program by tools/dev")
    }
  }

  init(root: URL) { self.root = root }

  public var out: URL { root.appending(path: "out") }
  public var bin: URL { out.appending(path: "bin") }
  public var lib: URL { out.appending(path: "lib") }
  public var kernel: URL { out.appending(path: "kernel") }
  public var guest: URL { out.appending(path: "guest") }
  public var images: URL { out.appending(path: "images") }
  public var cache: URL { out.appending(path: "cache") }
  public var logs: URL { out.appending(path: "logs") }
  public var stamps: URL { out.appending(path: "stamps") }
  public var run: URL { out.appending(path: "run") }

  public func path(_ relative: String) -> URL { root.appending(path: relative) }

  /// Makes a folder and those above it.
  @discardableResult
  public func makeFolder(_ folder: URL) throws -> URL {
    try FileManager.default.createDirectory(at: folder, withIntermediateDirectories: true)
    return folder
  }

  /// The log of a step; an older one is replaced.
  public func log(_ name: String) throws -> URL {
    try makeFolder(logs).appending(path: name + ".log")
  }
}

/// Whether something is at `url`.
public func exists(_ url: URL) -> Bool { FileManager.default.fileExists(atPath: url.path) }

/// Removes what is at `url`, if anything is.
public func remove(_ url: URL) throws {
  if exists(url) { try FileManager.default.removeItem(at: url) }
}

/// Puts a copy of `source` at `target` in one step: nobody sees half a file.
public func install(_ source: URL, at target: URL) throws {
  try FileManager.default.createDirectory(
    at: target.deletingLastPathComponent(), withIntermediateDirectories: true)
  let fresh = target.deletingLastPathComponent().appending(
    path: ".\(target.lastPathComponent).\(getpid())")
  try remove(fresh)
  try FileManager.default.copyItem(at: source, to: fresh)
  try move(fresh, over: target)
}

/// Renames `source` to `target`, replacing what is there in one step.
func move(_ source: URL, over target: URL) throws {
  // SAFETY: both strings outlive the call.
  guard unsafe rename(source.path, target.path) == 0 else {
    throw systemFailure("rename \(source.path) to \(target.path)")
  }
}

/// Opens a file to be written from its beginning, or its end; the caller closes it. Whoever opens
/// the same file again meanwhile adds to it and does not write over it.
func openForWriting(_ file: URL, append: Bool = false) throws -> Int32 {
  let flags = O_WRONLY | O_CREAT | O_CLOEXEC | O_APPEND | (append ? 0 : O_TRUNC)
  // SAFETY: the string outlives the call.
  let descriptor = unsafe open(file.path, flags, 0o644)
  guard descriptor >= 0 else { throw systemFailure("open \(file.path)") }
  return descriptor
}
