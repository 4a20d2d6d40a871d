// SPDX-License-Identifier: Apache-2.0

/// The words of a plan's text.
enum PlanKey {
  static let version = "vos-launch-plan"
  static let domain = "domain"
  static let vcpus = "vcpus"
  static let memoryBytes = "memory-bytes"
  static let memory = "memory"
  static let hugePages = "huge-pages"
  static let kvm = "kvm"
  static let kernel = "kernel"
  static let initrd = "initrd"
  static let deviceTree = "device-tree"
  static let commandLine = "command-line"
  static let console = "console"
  static let vfioContainer = "vfio-container"
  static let ivshmemSlot = "ivshmem.slot"
  static let ivshmemRegion = "ivshmem.region"
  static let ivshmemRegionBytes = "ivshmem.region-bytes"
  static let ivshmemPeer = "ivshmem.peer"
  static let ivshmemVectors = "ivshmem.vectors"
  static let ivshmemRemote = "ivshmem.remote"
  static let ivshmemReadOnly = "ivshmem.read-only"
  static let vfioSlot = "vfio.slot"
  static let vfioAddress = "vfio.address"
  static let vfioDevice = "vfio.device"

  /// The only version there is.
  static let currentVersion = "1"
}

extension LaunchPlan {
  /// The plan as text: one `key=value` a line.
  ///
  /// The first line is `vos-launch-plan=1`. `ivshmem.slot` and `vfio.slot` each begin a new entry to
  /// which the following lines of the same prefix belong. `ivshmem.remote` is `peer:index,index…`,
  /// `ivshmem.read-only` is `offset:bytes`; both may come again. Numbers are decimal.
  public var text: String {
    var lines: [(String, String)] = [
      (PlanKey.version, PlanKey.currentVersion), (PlanKey.domain, domain),
      (PlanKey.vcpus, "\(vcpuCount)"), (PlanKey.memoryBytes, "\(memoryBytes)"),
      (PlanKey.memory, "\(memory)"), (PlanKey.hugePages, hugePages ? "true" : "false"),
      (PlanKey.kvm, "\(kvm)"), (PlanKey.kernel, "\(kernel)"),
    ]
    if let initrd { lines.append((PlanKey.initrd, "\(initrd)")) }
    if let deviceTree { lines.append((PlanKey.deviceTree, "\(deviceTree)")) }
    lines.append((PlanKey.commandLine, commandLine))
    lines.append((PlanKey.console, "\(console)"))
    for channel in ivshmem { lines += channel.lines }
    if let vfioContainer { lines.append((PlanKey.vfioContainer, "\(vfioContainer)")) }
    for device in vfio {
      lines += [
        (PlanKey.vfioSlot, "\(device.slot)"), (PlanKey.vfioAddress, device.address),
        (PlanKey.vfioDevice, "\(device.device)"),
      ]
    }
    return lines.map { "\($0.0)=\($0.1)\n" }.joined()
  }
}

extension LaunchPlan.Ivshmem {
  fileprivate var lines: [(String, String)] {
    var lines = [
      (PlanKey.ivshmemSlot, "\(slot)"), (PlanKey.ivshmemRegion, "\(region)"),
      (PlanKey.ivshmemRegionBytes, "\(regionBytes)"), (PlanKey.ivshmemPeer, "\(peer)"),
      (PlanKey.ivshmemVectors, Self.list(vectors)),
    ]
    for remote in remotes {
      lines.append((PlanKey.ivshmemRemote, "\(remote.peer):\(Self.list(remote.vectors))"))
    }
    for range in readOnly {
      lines.append((PlanKey.ivshmemReadOnly, "\(range.offset):\(range.byteCount)"))
    }
    return lines
  }

  private static func list(_ indices: [Int]) -> String {
    indices.map { "\($0)" }.joined(separator: ",")
  }
}
