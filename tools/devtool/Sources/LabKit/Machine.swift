// SPDX-License-Identifier: Apache-2.0
public import Foundation

/// The lab host: an emulated machine with AMD SVM and an Intel IOMMU, a NIC and a SATA disk.
///
/// QEMU's software emulation is the only one that offers both, so it runs anywhere.
public struct LabMachine: Sendable {
  /// Where the server outside is, as the NIC's network sees it.
  public static let serverAddress = "10.0.2.100"
  /// Address and gateway that QEMU's user network expects of the machine.
  public static let guestAddress = "10.0.2.15/24"
  public static let gateway = "10.0.2.2"
  /// The emulator's name of the port above the e1000e, for its monitor.
  static let rootPort = "rp1"
  /// The function behind that port: the NIC that is given to a domain.
  static let assignedNIC = "0000:01:00.0"
  /// The function of the controller with the primary's own disks.
  static let primaryDevice = "0000:03:00.0"
  /// The function of the NVMe controller that the lab host keeps in `lab run`.
  static let peerDevice = "0000:02:00.0"
  /// Name of the agent's port.
  static let agentPort = "org.vos.lab"

  let workspace: Workspace
  /// The lab's own folder: sockets, disk, logs.
  public let folder: URL

  public static let defaultMemoryMiB = 6144
  /// The first runs no guest: /etc/rc of the lab host says why.
  public static let defaultProcessors = 3

  public var memoryMiB = LabMachine.defaultMemoryMiB
  public var processors = LabMachine.defaultProcessors
  /// The file that the server outside serves, whatever is asked for.
  public var servedFile: URL { folder.appending(path: "served.bin") }
  /// Disks of the SATA and of the NVMe controller.
  var disks: [URL] { ["storage.img", "nvme.img"].map { folder.appending(path: $0) } }
  public var consoleLog: URL { folder.appending(path: "console.log") }
  public var agentSocket: URL { folder.appending(path: "agent.sock") }
  public var terminalSocket: URL { folder.appending(path: "terminal.sock") }
  var monitorSocket: URL { folder.appending(path: "monitor.sock") }
  /// Disks of the primary domain's own, namespaces 1, 2, … of one NVMe controller. What is written
  /// to them is forgotten when the machine ends.
  public var primaryDisks: [URL] = []
  /// The second disk (see `disks`), instead of a copy of the lab's; writes are forgotten, too.
  public var peerDisk: URL?
  /// Whether both NICs are on one wire, and nothing else: the lab host is then all of the outside.
  /// (QEMU's user network would answer each connection that passes by with a reset.)
  public var joinsNICs = false
  /// More folders to show to the lab host, read-only: tag → folder.
  public var extraShares: [String: URL] = [:]

  public init(_ workspace: Workspace, folder: URL) {
    self.workspace = workspace
    self.folder = folder
  }

  /// The QEMU command; started in `folder`, so that socket paths stay short.
  func command() throws -> [String] {
    let qemu = try requireProgram("qemu-system-x86_64", package: "qemu-system-x86")
    var command = [
      qemu, "-accel", "tcg,thread=multi", "-smp", "\(processors)", "-cpu", "max",
      "-m", "\(memoryMiB)M", "-M", "q35,kernel-irqchip=split",
      "-device", "intel-iommu,intremap=on,caching-mode=on",
      "-display", "none", "-nodefaults", "-no-user-config", "-no-reboot",
      "-kernel", workspace.kernel.appending(path: "vmlinuz").path,
      "-initrd", workspace.images.appending(path: "labhost.cpio").path,
      // nokaslr: an address that a processor stands at can be looked up in the kernel's System.map.
      // no_timer_check: on a busy machine the emulated timer is late, and the kernel would panic.
      "-append", "console=ttyS0 panic=-1 intel_iommu=on nokaslr no_timer_check quiet",
      "-chardev", "file,id=console,path=console.log", "-serial", "chardev:console",
    ]
    command += nics() + drives() + ports() + shares() + primaryController()
    return command
  }

  /// For long transfers over a wire of our own: QEMU 7.2's e1000e cuts what the driver leaves it to
  /// segment into IP fragments, of which one lost costs 64 KiB. Its DMA goes through the IOMMU.
  private static let virtualNIC = "virtio-net-pci,disable-legacy=on,iommu_platform=on"

  /// A PCI Express NIC behind a root port, and a conventional one that has only INTx.
  ///
  /// Nothing outside is reachable but the server, one process a connection.
  private func nics() -> [String] {
    // QEMU runs in the machine's folder: a relative path would mean something else there.
    let program = URL(fileURLWithPath: CommandLine.arguments[0]).path
    let server = "cmd:\(program) serve-once \(servedFile.path)"
    let network = "restrict=on,guestfwd=tcp:\(LabMachine.serverAddress):80-\(server)"
    let wires =
      joinsNICs
      ? ["hubport,id=n0,hubid=0", "hubport,id=n1,hubid=0"]
      : ["user,id=n0,\(network)", "user,id=n1,\(network)"]
    let models = joinsNICs ? [Self.virtualNIC, Self.virtualNIC] : ["e1000e", "e1000"]
    let places = ["bus=\(LabMachine.rootPort)", "bus=pcie.0,addr=06.0"]
    return ["-device", "ioh3420,id=\(LabMachine.rootPort),chassis=1,slot=1"]
      + wires.flatMap { ["-netdev", $0] }
      + models.enumerated().flatMap { index, model in
        ["-device", "\(model),netdev=n\(index),\(places[index])"]
      }
  }

  /// A SATA controller of its own, for the chipset's shares an IOMMU group with the LPC bridge; and
  /// an NVMe controller. Each has a disk, with the same content unless `peerDisk` is given.
  private func drives() -> [String] {
    let second =
      peerDisk.map { "if=none,id=s1,file=\($0.path),format=raw,snapshot=on" }
      ?? "if=none,id=s1,file=nvme.img,format=raw"
    return [
      "-drive", "if=none,id=s0,file=storage.img,format=raw",
      "-device", "ich9-ahci,id=ahci1,bus=pcie.0,addr=05.0", "-device",
      "ide-hd,drive=s0,bus=ahci1.0",
      "-drive", second,
      "-device", "ioh3420,id=rp2,chassis=2,slot=2", "-device", "nvme,drive=s1,serial=vos,bus=rp2",
    ]
  }

  private func primaryController() -> [String] {
    guard !primaryDisks.isEmpty else { return [] }
    return [
      "-device", "ioh3420,id=rp3,chassis=3,slot=3",
      "-device", "nvme,id=primary,serial=primary,bus=rp3",
    ]
      + primaryDisks.enumerated().flatMap { index, disk in
        [
          "-drive", "if=none,id=p\(index),file=\(disk.path),format=raw,snapshot=on",
          "-device", "nvme-ns,drive=p\(index),bus=primary,nsid=\(index + 1)",
        ]
      }
  }

  /// What a queue's user loses without it is a few interrupts fewer; with it, QEMU (to 10.0) loses
  /// kicks: virtqueue_pop says from which buffer on it wants one, and looks whether there is one,
  /// with no barrier between. Who adds a buffer just then does not kick, and nobody does after that.
  /// A lab host that waits for a file in vain so stands still as a whole.
  private static let alwaysKick = "event_idx=off"

  private func ports() -> [String] {
    [
      "-chardev", "socket,id=monitor,path=monitor.sock,server=on,wait=off",
      "-mon", "chardev=monitor,mode=control",
      "-device", "virtio-serial,\(Self.alwaysKick)",
      "-chardev", "socket,id=agent,path=agent.sock,server=on,wait=off",
      "-device", "virtserialport,chardev=agent,name=\(LabMachine.agentPort)",
      "-chardev", "socket,id=terminal,path=terminal.sock,server=on,wait=off",
      "-device", "virtconsole,chardev=terminal",
    ]
  }

  private func shares() -> [String] {
    let own = ["out": workspace.out, "vfio-configs": workspace.path("vfio-configs")]
    return own.merging(extraShares) { $1 }.sorted { $0.key < $1.key }.flatMap { tag, folder in
      [
        "-fsdev",
        "local,id=\(tag),path=\(folder.path),security_model=none,readonly=on,multidevs=remap",
        "-device", "virtio-9p-pci,fsdev=\(tag),mount_tag=\(tag),\(Self.alwaysKick)",
      ]
    }
  }
}
