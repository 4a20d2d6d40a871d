// SPDX-License-Identifier: Apache-2.0
public import Foundation

/// A lab with a system whose primary is a whole Debian: what `tools/lab run` runs programs in.
///
/// The primary's root is an NVMe disk of its own, so nothing is unpacked and nothing takes memory
/// twice. Its sockets and /storage come over channels, as in every system. What is written to the
/// root and to /storage is forgotten in the end.
public struct ProgramLab {
  /// What to bring up.
  public struct Options: Sendable {
    public static let defaultMemoryMiB = 2048
    public static let defaultStorageMiB = 1024
    /// Debian packages of the primary's root.
    public var packages: [String] = []
    /// A folder whose content is at /share, read-only, as it is now.
    public var share: URL?
    /// The primary's memory; its /tmp takes up to half of it.
    public var memoryMiB = Options.defaultMemoryMiB
    /// Size of the file system at /storage.
    public var storageMiB = Options.defaultStorageMiB
    /// Whether the lab host has the packages too, on the wire of the primary's NIC.
    public var withPeer = false

    public init() {}
  }

  /// Largest share: its image is written for each run.
  public static let shareLimitMiB = 4096
  /// Addresses of the network domain's NIC, and of the lab host's on the same wire.
  public static let address = "10.0.2.15"
  public static let peerAddress = "10.0.2.50"
  /// Exit code when a program took too long, as timeout(1) has it.
  public static let timeoutCode: Int32 = 124
  /// Memory of the two service domains, as the manifest has it, and of the lab host itself.
  private static let otherMiB = 2 * 256 + 1536

  public let system: VosSystem
  private let workspace: Workspace
  private let options: Options
  /// The folder that /share shows; of the machine's own if there is none.
  var share: URL { options.share ?? system.lab.machine.folder }

  /// Throws when the options cannot be met, before anything takes time.
  public static func check(_ workspace: Workspace, _ options: Options) throws {
    if let share = options.share { try checkShare(share) }
    try RootBuild(workspace, packages: options.packages).checkNames()
  }

  /// Makes what is missing, starts a lab host of its own, brings the system up in it.
  ///
  /// - Parameter manifest: of another system than the usual one of three domains.
  public static func start(
    _ workspace: Workspace, _ options: Options, manifest: String? = nil
  ) throws -> ProgramLab {
    let root = try RootBuild(workspace, packages: options.packages)
    try root.build()
    let name = "run-\(getpid())"
    let lab = try Console.shared.step("start the lab host") {
      try Lab.start(workspace, name: name) {
        try configure(&$0, root.image, options, workspace)
        try write(manifest ?? self.manifest(options), for: $0)
      }
    }
    let run = ProgramLab(system: VosSystem(lab), workspace: workspace, options: options)
    do {
      try Console.shared.step("bring the system up") {
        try run.system.up(run.manifestPath)
        if options.withPeer { try run.preparePeer() }
      }
      return run
    } catch {
      if !Interrupts.raised { Evidence(of: lab).show(as: "run", in: workspace) }
      try? lab.stop()
      throw error
    }
  }

  /// Ends the machine at once: nothing in it is kept.
  public func stop() throws { try system.lab.stop() }

  // MARK: The machine

  private static let manifestName = "manifest.yaml"

  private static func configure(
    _ machine: inout LabMachine, _ root: URL, _ options: Options, _ workspace: Workspace
  ) throws {
    machine.memoryMiB = max(LabMachine.defaultMemoryMiB, options.memoryMiB + otherMiB)
    machine.joinsNICs = options.withPeer
    machine.primaryDisks = [root]
    if options.withPeer { machine.peerDisk = root }
    let log = machine.folder.appending(path: "disks.log")
    if let share = options.share {
      let image = machine.folder.appending(path: "share.ext4")
      // Twice the entries: the root folder, lost+found and what grows meanwhile.
      let entries = try capture(["find", share.path, "-printf", "\n"]).utf8.count
      try writeDisk(
        image, label: "share", from: share,
        mebibytes: treeKiB(share) * 12 / 10 / 1024 + entries / 1024 + 16, inodes: entries * 2 + 64,
        log: log)
      machine.primaryDisks.append(image)
    }
    try writeDisk(
      machine.disks[0], label: "storage", from: nil, mebibytes: options.storageMiB, log: log)
  }

  private static func write(_ manifest: String, for machine: LabMachine) throws {
    try Data(manifest.utf8).write(to: machine.folder.appending(path: manifestName))
  }

  private var manifestPath: String {
    "/vos/out/run/\(system.lab.machine.folder.lastPathComponent)/\(Self.manifestName)"
  }

  /// Ends the system and brings another one up; what the primary wrote to its disk stays.
  func restart(manifest: String) throws {
    try system.down()
    try Self.write(manifest, for: system.lab.machine)
    try system.up(manifestPath)
  }

  private static func checkShare(_ share: URL) throws {
    var isFolder: ObjCBool = false
    // SAFETY: the flag outlives the call.
    guard unsafe FileManager.default.fileExists(atPath: share.path, isDirectory: &isFolder) else {
      throw Failure("--share \(share.path): no such folder")
    }
    guard isFolder.boolValue else { throw Failure("--share \(share.path): not a folder") }
    let mebibytes = try treeKiB(share) / 1024
    guard mebibytes <= shareLimitMiB else {
      throw Failure(
        "--share \(share.path) holds \(mebibytes) MiB; at most \(shareLimitMiB) MiB can be shared")
    }
  }

  /// The system of one run; paths are as from out/run/NAME.
  static func manifest(_ options: Options) -> String {
    """
    # The system of one tools/lab run; written by it.
    vos: 1
    system: run
    boot-timeout: 300
    domains:
      primary:
        kernel: ../../kernel/vmlinuz
        initrd: ../../images/primary-disk.cpio
        cmdline: console=ttyS0 quiet panic=-1\(options.share == nil ? "" : " vos.share")
        memory: \(options.memoryMiB)MiB
        devices: ["\(LabMachine.primaryDevice)"]
        modules: [fuse]
    \(networkDomain(modules: options.withPeer ? virtualNICModules : "e1000e"))
      storage:
        kernel: ../../kernel/vmlinuz
        initrd: ../../images/storage.cpio
        cmdline: console=ttyS0 quiet panic=-1
        memory: 256MiB
        devices: ["0000:00:05.0"]
        modules: [ahci, sd_mod, ext4]
        serves: files
        storage: {source: /dev/sda, type: ext4, mount: /storage}

    """
  }

  /// Drivers of the NICs of a lab with a peer.
  static let virtualNICModules = "virtio_pci, virtio_net"

  /// The domain that has the NIC; indented as an entry of `domains`.
  ///
  /// - Parameter settings: more of the kernel command line, beginning with a blank.
  static func networkDomain(modules: String, settings: String = "") -> String {
    """
      network:
        kernel: ../../kernel/vmlinuz
        initrd: ../../images/network.cpio
        cmdline: console=ttyS0 quiet panic=-1\(settings)
        memory: 256MiB
        devices: ["\(LabMachine.assignedNIC)"]
        modules: [\(modules)]
        serves: sockets
        network: {address: \(LabMachine.guestAddress), gateway: \(LabMachine.gateway)}
    """
  }

  // MARK: Programs in the primary

  /// Runs a program in the primary to its end, and returns its exit code.
  ///
  /// - Parameters:
  ///   - variables: of its environment, NAME=VALUE, beside a locale.
  ///   - sink: takes what it writes as it comes.
  public func run(
    _ command: [String], directory: String = "/root", variables: [String] = [],
    withinSeconds seconds: Double, sink: @escaping AgentClient.Sink
  ) throws -> Int32 {
    let environment = (["LANG=C.UTF-8"] + variables).flatMap { ["-e", $0] }
    do {
      let result = try system.vosctl(
        ["exec"] + environment + ["primary", "--", "env", "-C", directory] + command,
        withinSeconds: seconds, sink: sink, keeping: false)
      try checkPrimary(result.code)
      return result.code
    } catch is AgentClient.TimedOut {
      Console.shared.say("error: \(command[0]) was ended after \(Int(seconds)) s (--timeout)")
      Evidence(of: lab).show(as: "run", in: workspace)
      return ProgramLab.timeoutCode
    }
  }

  /// A program's failure and the primary's end look alike from outside: exit code 1.
  private func checkPrimary(_ code: Int32) throws {
    guard code != 0 else { return }
    let primary = try system.report().domains.first { $0.name == "primary" }
    guard primary?.state != "ready" else { return }
    let evidence = Evidence(of: lab)
    let log = try evidence.keep(as: "run", in: workspace)
    let cause = evidence.fault.map { ": \($0); run it again" } ?? ""
    throw Failure("the primary ended while the program ran\(cause)", log: log)
  }

  // MARK: The lab host as the outside

  private static let peerRoot = "/mnt"

  /// Mounts the lab host's own copy of the root, puts the lab host on the wire, and serves what
  /// `ProgramsBuild` has made.
  private func preparePeer() throws {
    let root = ProgramLab.peerRoot
    let served = "/vos/out/programs"
    try system.onHost(
      "disk=$(basename /sys/bus/pci/devices/\(LabMachine.peerDevice)/nvme/nvme*)n1; "
        + "mount -t ext4 -o noatime /dev/$disk \(root) && mount -t proc proc \(root)/proc && "
        + "mount -t devtmpfs devtmpfs \(root)/dev && mount -t tmpfs tmpfs \(root)/tmp && "
        + "nic=$(basename /sys/bus/pci/devices/0000:00:06.0/virtio*/net/*) && "
        + "ip addr add \(ProgramLab.peerAddress)/24 dev $nic && "
        + "ip addr add \(LabMachine.serverAddress)/24 dev $nic && ip link set $nic up && "
        // A benchmark has nothing to serve.
        + "{ [ ! -d \(served) ] || busybox httpd -p \(LabMachine.serverAddress):80 -h \(served); }")
  }

  /// Runs a shell script in the lab host's Debian, outside the primary's network domain.
  @discardableResult
  public func outside(_ script: String, withinSeconds seconds: Double = 120) throws -> String {
    let result = try system.lab.agent.run(
      ["chroot", ProgramLab.peerRoot, "env", "LANG=C.UTF-8", "sh", "-c", script],
      withinSeconds: seconds)
    guard result.code == 0 else {
      throw Failure("outside: exit code \(result.code): \(result.output)\(result.errors)")
    }
    return result.text
  }
}
