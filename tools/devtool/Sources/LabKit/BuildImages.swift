// SPDX-License-Identifier: Apache-2.0
public import Foundation

/// The initramfs images and the lab's disk.
public struct ImageBuild {
  /// The images of the lab's domains.
  public static let domains = ["primary", "network", "storage", "primary-disk"]
  /// The release whose packages go into the images.
  static let suite = "bookworm"

  let workspace: Workspace
  private var sources: URL { workspace.path("guest-kernels/linux/images") }

  public init(_ workspace: Workspace) { self.workspace = workspace }

  /// Makes out/images/NAME.cpio.
  public func build(_ name: String) throws {
    let file = sources.appending(path: "\(name).image")
    let text = try String(contentsOf: file, encoding: .utf8)
    let description = try ImageDescription(text, name: file.path)
    let inputs =
      text + fingerprint(description.files.map { workspace.path($0.source) })
      + fingerprint([workspace.kernel.appending(path: "vmlinuz")])
    let target = workspace.images.appending(path: "\(name).cpio")
    let stamp = try Stamp(workspace, "image-\(name)")
    if stamp.matches(inputs), exists(target) { return }
    let tree = try packageTree(description.packages, name: name)
    try Console.shared.step("write the image \(name)") {
      try workspace.makeFolder(workspace.images)
      let archive = try assemble(description, tree: tree)
      try archive.write(to: target)
      try stamp.write(inputs)
    }
  }

  private func assemble(_ description: ImageDescription, tree: URL) throws -> Archive {
    var archive = Archive()
    try archive.addTree(tree, excluding: description.excluded)
    for folder in description.folders { archive.add(folder, .folder, permissions: 0o755) }
    for file in description.files {
      let source = workspace.path(file.source)
      guard exists(source) else { throw Failure("\(file.source) has not been built") }
      archive.add(file.target, .file(source), permissions: file.permissions)
    }
    for (path, target) in description.links { archive.add(path, .link(target)) }
    try addModules(description.modules, to: &archive)
    if let busybox = description.busybox { try addApplets(busybox, tree: tree, to: &archive) }
    return archive
  }

  private func addModules(_ names: [String], to archive: inout Archive) throws {
    let modules = try Modules(folder: KernelBuild(workspace).modules())
    let place = "lib/modules/\(try KernelBuild(workspace).release().name)"
    let order = try modules.loadOrder(names)
    for path in order {
      archive.add("\(place)/\(path)", .file(modules.folder.appending(path: path)))
    }
    archive.add("\(place)/modules.dep", .bytes(Array(modules.dependencies(of: order).utf8)))
    for file in ["modules.builtin", "modules.order"] {
      archive.add("\(place)/\(file)", .file(modules.folder.appending(path: file)))
    }
    archive.add("/etc/vos/modules", .bytes(Array((order.joined(separator: "\n") + "\n").utf8)))
  }

  /// Links for busybox's applets, where Debian's own program is not in the image.
  private func addApplets(_ busybox: String, tree: URL, to archive: inout Archive) throws {
    let program = tree.appending(path: busybox).path
    for applet in try capture([program, "--list"]).split(separator: "\n") {
      let places = ["bin", "sbin", "usr/bin", "usr/sbin"].map { "\($0)/\(applet)" }
      if !places.contains(where: archive.contains) { archive.add("bin/\(applet)", .link(busybox)) }
    }
  }

  /// The packages' files, unpacked below out/cache; shared by images with the same packages.
  func packageTree(_ packages: [String], name: String) throws -> URL {
    let list = packages.sorted().joined(separator: ",")
    // A file name holds 255 bytes; the stamp has the whole list.
    let title = String("packages-\(list)".prefix(200))
    let tree = workspace.cache.appending(path: title)
    let stamp = try Stamp(workspace, title)
    if stamp.matches(list), exists(tree) { return tree }
    stamp.forget()
    try workspace.makeFolder(workspace.cache)
    let archive = workspace.cache.appending(path: "packages-\(name).tar")
    let log = try workspace.log("packages-\(name)")
    try Console.shared.step("fetch Debian packages for the image \(name)") {
      try run(
        [
          try requireProgram("mmdebstrap", package: "mmdebstrap"), "--variant=extract",
          "--include=\(list)",
          "--dpkgopt=path-exclude=/usr/share/doc/*", "--dpkgopt=path-exclude=/usr/share/man/*",
          "--dpkgopt=path-exclude=/usr/share/locale/*", "--dpkgopt=path-exclude=/usr/share/info/*",
          ImageBuild.suite, archive.path,
        ], log: log)
      try remove(tree)
      try workspace.makeFolder(tree)
      try run(
        [
          "tar", "-x", "--no-same-owner", "--exclude=./dev/*", "-f", archive.path, "-C", tree.path,
        ], log: log, append: true)
      try remove(archive)
      try stamp.write(list)
    }
    return tree
  }
}

/// The lab's disk: an ext4 file system with real files, never mounted on the way.
public struct DiskBuild {
  /// What the disk holds, beside the lab's own text files.
  public static let dataFile = "data-10m.bin"
  public static let dataBytes = 10 << 20
  static let sizeMiB = 128

  let workspace: Workspace

  public init(_ workspace: Workspace) { self.workspace = workspace }

  public var image: URL { workspace.images.appending(path: "storage.img") }
  private var content: URL { workspace.cache.appending(path: "disk") }

  /// The SHA-256 of the disk's 10 MiB file.
  public func dataDigest() throws -> String {
    try sha256(of: content.appending(path: DiskBuild.dataFile))
  }

  /// Makes out/images/storage.img.
  public func build() throws {
    let inputs = "\(DiskBuild.sizeMiB) MiB, \(DiskBuild.dataBytes) bytes of data, format 1\n"
    let stamp = try Stamp(workspace, "disk")
    if stamp.matches(inputs), exists(image), exists(content) { return }
    try Console.shared.step("make the lab's disk (ext4, \(DiskBuild.sizeMiB) MiB)") {
      stamp.forget()
      try remove(content)
      try workspace.makeFolder(content.appending(path: "docs"))
      try workspace.makeFolder(workspace.images)
      let data = content.appending(path: DiskBuild.dataFile)
      try writeRandomFile(data, bytes: DiskBuild.dataBytes)
      try Data("\(try sha256(of: data))  \(DiskBuild.dataFile)\n".utf8).write(
        to: content.appending(path: "\(DiskBuild.dataFile).sha256"))
      try writeWords(content.appending(path: "docs/words.txt"))
      try makeFileSystem()
      try stamp.write(inputs)
    }
  }

  private func makeFileSystem() throws {
    try remove(image)
    let mke2fs = try requireProgram("mke2fs", package: "e2fsprogs")
    try run(
      [
        mke2fs, "-q", "-t", "ext4", "-L", "vos-storage", "-E", "root_owner=0:0", "-d", content.path,
        image.path, "\(DiskBuild.sizeMiB)M",
      ], log: try workspace.log("disk"))
  }

  /// Lines in no order, for `sort`.
  private func writeWords(_ file: URL) throws {
    let lines = (0..<2000).map { _ in String(UInt32.random(in: .min ... .max), radix: 36) }
    try Data((lines.joined(separator: "\n") + "\n").utf8).write(to: file)
  }
}

/// Writes `bytes` random bytes.
public func writeRandomFile(_ file: URL, bytes: Int) throws {
  let source = try FileHandle(forReadingFrom: URL(fileURLWithPath: "/dev/urandom"))
  defer { try? source.close() }
  guard let data = try source.read(upToCount: bytes), data.count == bytes else {
    throw Failure("/dev/urandom gave fewer than \(bytes) bytes")
  }
  try data.write(to: file)
}
