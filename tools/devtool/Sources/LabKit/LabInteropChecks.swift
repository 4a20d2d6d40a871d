// SPDX-License-Identifier: Apache-2.0

extension LabCheck {
  private static let interopManifest = "/vos/vfio-configs/lab-interop.yaml"

  /// The same guests in QEMU, with its ivshmem-doorbell device: at both ends of a channel (primary
  /// and storage), and at one end with a domain of vosvmm at the other (primary and network).
  static let interoperation = [
    LabCheck("QEMU guests at ends of channels: calls, leaving and joining") { system in
      let guests = QEMUGuests(system, try Peer(system))
      defer { guests.killAll() }
      try guests.makeDisk()
      try withSystem(system, manifest: interopManifest) {
        try guests.start("storage", options: QEMUGuests.disk)
        try guests.start("primary")
        try awaitStates(system, ["primary": "ready", "network": "ready", "storage": "ready"])
        try checkFiles(system)
        try checkSockets(system)
        let calls = try system.report().calls
        try expect(calls.fast > 0 && calls.kernel > 0, "calls: \(calls)")
        try checkServiceLeavesAndJoins(system, guests)
        try checkClientLeaves(system, guests)
      }
      // Asked by its agent, the guest has powered off, and its QEMU has ended.
      try guests.awaitEnd("storage")
    }
  ]

  private static func awaitStates(_ system: VosSystem, _ expected: [String: String]) throws {
    try waitUntil("domains are \(expected)", withinSeconds: 180) {
      let domains = try system.report().domains
      return Dictionary(uniqueKeysWithValues: domains.map { ($0.name, $0.state) }) == expected
    }
  }

  private static func checkServiceLeavesAndJoins(_ system: VosSystem, _ guests: QEMUGuests) throws {
    try guests.kill("storage")
    try waitUntil("the primary's kernel sees the service leave") {
      try system.inDomain("primary", "dmesg").contains("channel storage: service is gone")
    }
    try guests.start("storage", options: QEMUGuests.disk)
    try awaitStates(system, ["primary": "ready", "network": "ready", "storage": "ready"])
    try system.inDomain("primary", "cd /storage && sha256sum -c \(DiskBuild.dataFile).sha256")
    let log = try system.inDomain("primary", "dmesg")
    try expect(log.contains("channel storage: service generation 2 is ready"), log)
  }

  /// What the service held for a client goes with it.
  private static func checkClientLeaves(_ system: VosSystem, _ guests: QEMUGuests) throws {
    try system.inDomain("primary", "busybox nc -l -p 7777 > /dev/null 2>&1 < /dev/null &")
    let listeners = "netstat -ltn"
    try waitUntil("the network domain has the primary's listener") {
      try system.inDomain("network", listeners).contains(":7777 ")
    }
    try guests.kill("primary")
    try waitUntil("the network domain has let go of the listener", withinSeconds: 10) {
      try !system.inDomain("network", listeners).contains(":7777 ")
    }
    try awaitStates(system, ["primary": "awaited", "network": "ready", "storage": "ready"])
  }
}

/// QEMU guests in the lab host that are external domains.
struct QEMUGuests {
  private let system: VosSystem
  private let peer: Peer

  init(_ system: VosSystem, _ peer: Peer) { (self.system, self.peer) = (system, peer) }

  /// A copy of the lab's disk image on an emulated controller.
  static let disk =
    "-drive if=none,id=disk,file=/tmp/disk.img,format=raw -device ide-hd,drive=disk,bus=ide.0"

  /// Makes the copy: the lab host's own view of the image can be neither written nor locked.
  func makeDisk() throws { try system.onHost("cp /vos/out/images/storage.img /tmp/disk.img") }

  /// Starts the domain's kernel and image in a QEMU.
  func start(_ name: String, options: String = "") throws {
    let command =
      "\(Peer.program) -accel kvm -cpu host -M q35 -m 384M -nodefaults -no-user-config "
      + "-display none -serial file:/tmp/\(name).log \(Peer.firmware) "
      + "-kernel /vos/out/kernel/vmlinuz -initrd /vos/out/images/\(name).cpio "
      + "-append 'console=ttyS0 quiet panic=-1' \(options) $(vosctl qemu-args \(name))"
    try system.onHost(
      "\(command) > /tmp/\(name).out 2>&1 < /dev/null & echo $! > /tmp/\(name).pid")
    try LabCheck.waitUntil("the QEMU of \(name) has joined") {
      try system.onHost("kill -0 $(cat /tmp/\(name).pid) || { cat /tmp/\(name).out >&2; exit 1; }")
      return try system.report().domains.contains { $0.name == name && $0.state != "awaited" }
    }
  }

  func kill(_ name: String) throws {
    try system.onHost("kill -9 $(cat /tmp/\(name).pid)")
    try awaitEnd(name)
  }

  func awaitEnd(_ name: String) throws {
    try system.waitOnHost("[ ! -d /proc/$(cat /tmp/\(name).pid) ]", withinSeconds: 30)
  }

  /// Whatever is left of them, and their files.
  func killAll() {
    for name in ["primary", "storage"] {
      _ = try? system.onHost(
        "kill -9 $(cat /tmp/\(name).pid) 2>/dev/null; "
          + "rm -f /tmp/disk.img /tmp/\(name).pid /tmp/\(name).log /tmp/\(name).out")
    }
  }
}
