// SPDX-License-Identifier: Apache-2.0
import Channel
import Glibc
public import LinuxSystem
import Manifest
import SystemPackage

/// Why a runtime directory cannot be used.
public enum RuntimeDirectoryError: Error, Equatable, CustomStringConvertible {
  /// A vosd holds it.
  case inUse(path: String)
  /// It belongs to somebody else, or is no directory.
  case foreign(path: String)
  case system(SystemCallError)

  public var description: String {
    switch self {
    case .inUse(let path): "\(path) is in use by a running vosd; end it with \"vosctl down\""
    case .foreign(let path):
      "\(path) is not a directory of this user's alone; remove it or choose another with "
        + "--runtime-directory"
    case .system(let error): error.sentence
    }
  }
}

/// Where a system keeps what must be found again: its journal, its control socket, its log.
///
/// The directory is locked (flock(2)) by whoever changes anything: a vosd for as long as it lives,
/// vosctl while it repairs. The kernel lets go of the lock when its holder dies.
public struct RuntimeDirectory: ~Copyable, Sendable {
  public let path: String
  private let descriptor: OwnedDescriptor

  /// The directory above all systems' own.
  public static func standardRoot() -> String {
    if let root = environment("VOS_RUNTIME_DIRECTORY") { return root }
    if geteuid() == 0 { return "/run/vos" }
    return (environment("XDG_RUNTIME_DIR") ?? privatePlace) + "/vos"
  }

  /// For users without a runtime directory of their own; it goes when it is empty.
  private static var privatePlace: String { "/tmp/user-\(geteuid())" }

  public static func path(root: String, system: String) -> String { "\(root)/\(system)" }

  /// Names of the systems that have a directory under `root`, be it one that a crash left behind
  /// before its journal was written or after it was removed.
  public static func systems(root: String) -> [String] {
    directoryEntries(root).filter { isName($0) && isSystem("\(root)/\($0)") }.sorted()
  }

  /// Whether the directory has a journal, or nothing in it that is not ours.
  private static func isSystem(_ path: String) -> Bool {
    var status = stat()
    // SAFETY: the call fills a local of the type it expects.
    guard unsafe lstat(path, &status) == 0, status.st_mode & S_IFMT == S_IFDIR, isOurs(status)
    else { return false }
    let names = Set(directoryEntries(path))
    return names.contains(Journal.fileName) || names.allSatisfy(isOwnFile)
  }

  /// What this project puts into a system's directory. The journal goes last: as long as it is
  /// there, the next run finishes the work.
  private static let ownFiles = [
    "control", "vosd.log", "vosd.log" + LogFile.olderSuffix, Journal.temporaryName,
    Journal.fileName,
  ]

  /// The socket of an external domain's end of channel `channel`.
  static func endPath(in directory: String, channel: UInt32, _ side: ChannelSide) -> String {
    "\(directory)/channel-\(channel)-\(side)"
  }

  /// The device tree of an external domain.
  static func treePath(in directory: String, domain: String) -> String {
    "\(directory)/\(domain).dtb"
  }

  /// Whether a name in a system's directory is one of those that this project gives.
  private static func isOwnFile(_ name: String) -> Bool {
    if ownFiles.contains(name) { return true }
    for suffix in [".dtb", ".dtb" + newSuffix] where name.hasSuffix(suffix) {
      return isName(String(name.dropLast(suffix.count)))
    }
    let words = name.split(separator: "-", omittingEmptySubsequences: false)
    return words.count == 3 && words[0] == "channel" && UInt32(words[1]) != nil
      && ["client", "service"].contains(words[2])
  }

  /// Makes the directory if there is none, and locks it.
  public init(creating path: String) throws(RuntimeDirectoryError) {
    for parent in Self.parents(of: path) where !makeDirectory(parent, 0o755) {
      throw .system(SystemCallError("create \(parent)", errno: currentErrno()))
    }
    guard makeDirectory(path, 0o700) else {
      throw .system(SystemCallError("create \(path)", errno: currentErrno()))
    }
    guard let directory = try RuntimeDirectory(existing: path) else {
      throw .system(SystemCallError("open \(path)", errno: .noSuchFileOrDirectory))
    }
    self = directory
  }

  /// Locks the directory at `path`; `nil` if there is none.
  public init?(existing path: String) throws(RuntimeDirectoryError) {
    let directory: OwnedDescriptor
    do throws(SystemCallError) {
      directory = try OwnedDescriptor.open(path, flags: O_DIRECTORY | O_NOFOLLOW)
    } catch {
      if error.errno == .noSuchFileOrDirectory { return nil }
      if error.errno == .notDirectory || error.errno == .tooManySymbolicLinkLevels {
        throw .foreign(path: path)
      }
      throw .system(error)
    }
    guard Self.isOurs(directory.rawValue) else { throw .foreign(path: path) }
    guard flock(directory.rawValue, LOCK_EX | LOCK_NB) == 0 else {
      throw .inUse(path: path)
    }
    // Between opening and locking, its last holder may have removed it.
    guard Self.sameFile(directory.rawValue, path) else { return nil }
    self.path = path
    descriptor = directory
  }

  /// The control socket's path.
  public static func socketPath(in directory: String) -> String { directory + "/control" }
  /// The path of vosd's log.
  public static func logPath(in directory: String) -> String { directory + "/vosd.log" }

  /// Removes what this project put there, and the directory.
  ///
  /// - Returns: whether it is gone; somebody else's files keep it.
  @discardableResult
  public consuming func remove() -> Bool {
    let others = directoryEntries(path).filter {
      Self.isOwnFile($0) && !Self.ownFiles.contains($0)
    }
    for name in others + Self.ownFiles { removeFile(path + "/" + name) }
    // SAFETY: the strings outlive the calls.
    let isGone = unsafe rmdir(path) == 0
    for parent in Self.passingParents(of: path, below: Self.privatePlace) {
      _ = unsafe rmdir(parent)
    }
    return isGone
  }

  /// The directories above `path` up to `place`, innermost first; none if it is elsewhere.
  static func passingParents(of path: String, below place: String) -> [String] {
    guard path.hasPrefix(place + "/") else { return [] }
    return parents(of: path).filter { $0.hasPrefix(place) }.reversed()
  }

  private static func isOurs(_ descriptor: Int32) -> Bool {
    var status = stat()
    // SAFETY: the call fills a local of the type it expects.
    guard unsafe fstat(descriptor, &status) == 0 else { return false }
    return isOurs(status)
  }

  private static func isOurs(_ status: stat) -> Bool {
    status.st_uid == geteuid() && status.st_mode & 0o077 == 0
  }

  private static func sameFile(_ descriptor: Int32, _ path: String) -> Bool {
    var open = stat()
    var named = stat()
    // SAFETY: the calls fill locals of the type they expect.
    guard unsafe fstat(descriptor, &open) == 0, unsafe lstat(path, &named) == 0 else {
      return false
    }
    return open.st_ino == named.st_ino && open.st_dev == named.st_dev
  }

  private static func parents(of path: String) -> [String] {
    var result: [String] = []
    var prefix = ""
    for part in path.split(separator: "/").dropLast() {
      prefix += (prefix.isEmpty && !path.hasPrefix("/") ? "" : "/") + part
      result.append(prefix)
    }
    return result
  }
}

/// An environment variable that is set and not empty.
func environment(_ name: String) -> String? {
  // SAFETY: the result is copied at once; nothing here changes the environment.
  guard let value = unsafe getenv(name) else { return nil }
  let text = unsafe String(cString: value)
  return text.isEmpty ? nil : text
}

/// Whether something is at `path`.
func exists(_ path: String) -> Bool {
  // SAFETY: the string outlives the call.
  unsafe access(path, F_OK) == 0
}

/// Makes a directory; one that is there already is fine.
private func makeDirectory(_ path: String, _ mode: mode_t) -> Bool {
  // SAFETY: the string outlives the call.
  unsafe mkdir(path, mode) == 0 || errno == EEXIST
}

/// Removes a file; one that is gone already is fine.
func removeFile(_ path: String) {
  // SAFETY: the string outlives the call.
  _ = unsafe unlink(path)
}

/// What a file is called while it is written.
private let newSuffix = ".new"

/// Makes `bytes` the content of the file at `path`: a reader sees the old content or the new one.
func replaceFile(_ path: String, with bytes: [UInt8]) throws(SystemCallError) {
  let temporary = path + newSuffix
  let file = try OwnedDescriptor.open(
    temporary, flags: O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode: 0o600)
  try file.write(all: bytes)
  // SAFETY: the strings outlive the call.
  guard unsafe rename(temporary, path) == 0 else {
    throw SystemCallError("rename \(temporary)", errno: currentErrno())
  }
}

/// Names in a directory, without `.` and `..`; empty if it cannot be read.
func directoryEntries(_ path: String) -> [String] {
  guard let directory = unsafe opendir(path) else { return [] }
  // SAFETY: the stream was opened above and is closed once.
  defer { unsafe closedir(directory) }
  var names: [String] = []
  while let entry = unsafe readdir(directory) {
    // SAFETY: d_name is NUL-terminated within the entry, which lives until the next readdir.
    let name = unsafe withUnsafePointer(to: &entry.pointee.d_name) {
      unsafe $0.withMemoryRebound(to: CChar.self, capacity: 256) { unsafe String(cString: $0) }
    }
    if name != ".", name != ".." { names.append(name) }
  }
  return names
}

extension RuntimeDirectory {
  /// A process that was killed holds its lock for a moment yet.
  private static let attempts = 20
  private static let delayMicroseconds: UInt32 = 100_000

  /// Makes and locks the directory of `system`.
  ///
  /// - Throws: `alreadyUp` if a vosd holds it.
  public static func acquire(
    root: String, system: String
  ) throws(Failure) -> RuntimeDirectory {
    let path = path(root: root, system: system)
    for _ in 0..<attempts {
      do throws(RuntimeDirectoryError) {
        return try RuntimeDirectory(creating: path)
      } catch {
        try wait(error, path, system)
      }
    }
    throw alreadyUp(system)
  }

  /// Locks the directory of `system` if it is there.
  ///
  /// - Throws: `alreadyUp` if a vosd holds it.
  public static func acquireExisting(
    root: String, system: String
  ) throws(Failure) -> RuntimeDirectory? {
    let path = path(root: root, system: system)
    for _ in 0..<attempts {
      do throws(RuntimeDirectoryError) {
        return try RuntimeDirectory(existing: path)
      } catch {
        try wait(error, path, system)
      }
    }
    throw alreadyUp(system)
  }

  /// Waits a little if the holder is dying or has just begun; else it is a running vosd.
  private static func wait(
    _ error: RuntimeDirectoryError, _ path: String, _ system: String
  ) throws(Failure) {
    guard case .inUse = error else { throw Failure(.failed, "\(error)") }
    if let client = try? ControlClient(directory: path, system: system), client.isAnswered() {
      throw alreadyUp(system)
    }
    usleep(delayMicroseconds)
  }

  private static func alreadyUp(_ system: String) -> Failure {
    Failure(
      .alreadyUp,
      "system \"\(system)\" is up already; see \"vosctl ps\", end it with \"vosctl down\"")
  }
}
