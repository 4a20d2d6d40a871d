// SPDX-License-Identifier: Apache-2.0
public import Foundation

/// A whole Debian system with chosen packages, as the image of a disk; kept in out/cache.
///
/// Maintainer scripts have run: users, alternatives and caches are as on an installed machine.
public struct RootBuild {
  /// What every root has beside the packages asked for: programs that test suites take for granted.
  static let base = ["ca-certificates", "iproute2", "netbase", "procps", "util-linux"]
  /// Room on the disk beside the packages' files.
  static let freeMiB = 4096
  /// Counts changes of how a root is made.
  private static let format = 1

  let workspace: Workspace
  private let packages: [String]

  /// - Parameter packages: names of Debian packages, in any order.
  public init(_ workspace: Workspace, packages: [String]) throws {
    for name in packages {
      // Debian policy 5.6.1; a version or an option of apt would change what the name means.
      guard name.wholeMatch(of: /[a-z0-9][a-z0-9+.\-]+/) != nil else {
        throw Failure("\"\(name)\" is no name of a Debian package")
      }
    }
    self.workspace = workspace
    self.packages = Set(packages + RootBuild.base).sorted()
  }

  /// The list that the root is cached by.
  private var list: String { packages.joined(separator: ",") }

  private var name: String {
    let text = "\(ImageBuild.suite) \(list) \(RootBuild.freeMiB) \(RootBuild.format)"
    return "root-\(String(fnv1a(text), radix: 16))"
  }

  /// The disk's image: one ext4 file system.
  public var image: URL { workspace.cache.appending(path: "\(name).ext4") }

  /// Throws if this machine's package lists are filled and lack a package: better told at once than
  /// by mmdebstrap after a minute.
  public func checkNames() throws {
    guard !exists(image) else { return }
    let asked = packages + ["base-files"]
    let text = try capture(
      ["sh", "-c", "apt-cache show --no-all-versions \"$@\" 2> /dev/null || :", "sh"] + asked)
    let known = Set(text.matches(of: /(?m)^Package: (.+)$/).map { String($0.1) })
    guard known.contains("base-files") else { return }
    let missing = packages.filter { !known.contains($0) }
    guard missing.isEmpty else { throw RootBuild.refusal(of: missing) }
  }

  private static func refusal(of packages: [String], log: URL? = nil) -> Failure {
    Failure(
      "Debian 12 has no package \(packages.joined(separator: ", ")): "
        + "apt-cache search WORD finds names", log: log)
  }

  /// Makes the image, unless it is there.
  public func build() throws {
    let stamp = try Stamp(workspace, name)
    if stamp.matches(list), exists(image) { return }
    guard getuid() == 0 else {
      throw Failure("a Debian root can only be made by root: its files have many owners")
    }
    let work = workspace.cache.appending(path: ".\(name).\(getpid())")
    try workspace.makeFolder(work)
    defer { try? remove(work) }
    let tree = work.appending(path: "tree")
    try Console.shared.step("install Debian with \(title) (once; about a minute)") {
      stamp.forget()
      try install(into: tree, work: work)
    }
    try Console.shared.step("write the root's disk") {
      let fresh = work.appending(path: "disk")
      let used = try treeKiB(tree)
      try writeDisk(
        fresh, label: "root", from: tree, mebibytes: used * 11 / 10 / 1024 + RootBuild.freeMiB,
        log: try workspace.log(name))
      try move(fresh, over: image)
      try stamp.write(list)
    }
  }

  private var title: String {
    let asked = packages.filter { !RootBuild.base.contains($0) }
    if asked.isEmpty { return "no further packages" }
    let shown = asked.prefix(6).joined(separator: ", ")
    return asked.count > 6 ? "\(shown) and \(asked.count - 6) more" : shown
  }

  private func install(into tree: URL, work: URL) throws {
    let log = try workspace.log(name)
    do {
      // What is mounted in the tree is mounted for these processes only: the tree can be removed
      // whatever becomes of them.
      try run(
        [
          "unshare", "--mount", "--", try requireProgram("mmdebstrap", package: "mmdebstrap"),
          "--variant=minbase",
          "--mode=root", "--include=\(list)", "--dpkgopt=path-exclude=/usr/share/doc/*",
          "--dpkgopt=path-exclude=/usr/share/man/*", "--dpkgopt=path-exclude=/usr/share/info/*",
          ImageBuild.suite, tree.path,
        ], environment: ["TMPDIR": work.path], log: log)
    } catch let failure as Failure {
      guard !Interrupts.raised else { throw failure }
      let text = (try? String(contentsOf: log, encoding: .utf8)) ?? ""
      let missing = RootBuild.missingPackages(text)
      guard missing.isEmpty else { throw RootBuild.refusal(of: missing, log: log) }
      throw failure
    }
  }

  /// Names that apt did not know, by what it wrote.
  static func missingPackages(_ log: String) -> [String] {
    let lines = log.matches(
      of: /E: (?:Unable to locate package ([^\s]+)|Package '([^']+)' has no installation candidate)/
    )
    return Set(lines.compactMap { ($0.1 ?? $0.2).map(String.init) }).sorted()
  }
}

/// Makes the image of a disk: one ext4 file system with what is in `tree`, owners and all.
///
/// The file is sparse.
func writeDisk(
  _ image: URL, label: String, from tree: URL?, mebibytes: Int, inodes: Int? = nil, log: URL
) throws {
  let mke2fs = try requireProgram("mke2fs", package: "e2fsprogs")
  var command = [mke2fs, "-q", "-F", "-t", "ext4", "-L", label, "-m", "0"]
  command += ["-E", "root_owner=0:0,lazy_itable_init=0,lazy_journal_init=0"]
  if let inodes { command += ["-N", "\(inodes)"] }
  if let tree { command += ["-d", tree.path] }
  try run(command + [image.path, "\(mebibytes)M"], log: log, append: true)
  guard tree != nil else { return }
  // What shows `tree` shall not hold more than that.
  let debugfs = try requireProgram("debugfs", package: "e2fsprogs")
  try run([debugfs, "-w", "-R", "rmdir lost+found", image.path], log: log, append: true)
}

/// KiB that the files of `tree` take on a disk, links counted once.
func treeKiB(_ tree: URL) throws -> Int {
  let text = try capture(["du", "-sk", tree.path])
  guard let number = text.split(whereSeparator: \.isWhitespace).first.flatMap({ Int($0) }) else {
    throw Failure("du -sk \(tree.path) printed \"\(text)\"")
  }
  return number
}

/// A hash for names of files, where nobody is to be kept out (Fowler, Noll, Vo; 64 bits).
func fnv1a(_ text: String) -> UInt64 {
  text.utf8.reduce(0xcbf2_9ce4_8422_2325) { ($0 ^ UInt64($1)) &* 0x100_0000_01b3 }
}
