// SPDX-License-Identifier: Apache-2.0
import Foundation

extension LabCheck {
  private static let url = "http://\(LabMachine.serverAddress)/file"

  /// A system that comes up, serves and goes down, twice over.
  static let lifeCycle = [
    LabCheck("validate accepts the lab's manifest") { system in
      try system.mustVosctl(["validate", VosSystem.manifest])
    },
    LabCheck("up, calls by both ways, a broken channel made new, down") { system in
      try withSystem(system) {
        try checkReport(system)
        try checkExec(system)
        try checkSockets(system)
        try checkFiles(system)
        let calls = try system.report().calls
        try expect(calls.fast > 0 && calls.kernel > 0, "calls: \(calls)")
        try checkBrokenChannels(system)
      }
    },
    LabCheck("up and down a second time; a second up meanwhile is refused") { system in
      try withSystem(system) {
        let again = try system.vosctl(["up", VosSystem.manifest])
        try expect(again.code != 0, "a second up exited with 0")
        try system.mustVosctl(["ps"])
        let tree = try system.mustVosctl(["dtb", "network"])
        try expect(!tree.output.isEmpty, "vosctl dtb printed nothing")
        let log = try system.mustVosctl(["logs", "storage"])
        try expect(!log.output.isEmpty, "vosctl logs printed nothing")
      }
    },
  ]

  private static let pageBytes = 4096

  /// Both are heard again, and nobody who called meanwhile hangs.
  private static func checkBrokenChannels(_ system: VosSystem) throws {
    // A reader that is at it all the time: it may fail, and must end.
    let load = "cd /storage; for n in 1 2 3 4 5 6 7 8 9; do sha256sum \(DiskBuild.dataFile); done"
    try system.onHost(
      "vosctl exec primary -- sh -c '\(load)' > /tmp/load.log 2>&1 & echo $! > /tmp/load.pid")
    // What nobody says, in the service's page: its daemon sees it, or the primary's kernel.
    try scribble(system, "storage", at: pageBytes * 2)
    try awaitRenewal(system, "storage")
    try system.inDomain("primary", "cd /storage && sha256sum -c \(DiskBuild.dataFile).sha256")
    try system.waitOnHost("[ ! -d /proc/$(cat /tmp/load.pid) ]", withinSeconds: 60)
    // The same in the client's page: the primary's kernel sees it, or the network's daemon.
    try scribble(system, "network", at: pageBytes)
    try awaitRenewal(system, "network")
    try checkSockets(system)
  }

  /// Writes a word that makes no sense into a channel's region, through vosd's descriptor of it.
  private static func scribble(_ system: VosSystem, _ channel: String, at offset: Int) throws {
    try system.onHost(
      "for f in /proc/$(pidof vosd)/fd/*; do case $(readlink $f) in "
        + "*memfd:vos-\(channel)-\(channel)*) file=$f;; esac; done; "
        + "printf M | dd of=$file bs=1 seek=\(offset) conv=notrunc 2>/dev/null")
  }

  private static func awaitRenewal(_ system: VosSystem, _ name: String) throws {
    try waitUntil("channel \(name) is made new") {
      let channels = try system.report().domains.flatMap(\.channels)
      return channels.contains { $0.name == name && $0.state == "sound" && $0.renewals == 1 }
    }
    try waitUntil("channel \(name) is served") {
      try system.inDomain("primary", "dmesg").contains(
        "channel \(name): service generation 2 is ready")
    }
  }

  private static func checkReport(_ system: VosSystem) throws {
    let report = try system.report()
    let states = Dictionary(uniqueKeysWithValues: report.domains.map { ($0.name, $0.state) })
    let expected = ["primary": "ready", "network": "ready", "storage": "ready"]
    try expect(states == expected, "domains are \(states)")
    let taken = try system.drivers().filter { $0.value == "vfio-pci" }.keys.sorted()
    try expect(taken == VosSystem.devices.prefix(2).sorted(), "devices taken: \(taken)")
  }

  private static func checkExec(_ system: VosSystem) throws {
    let result = try system.vosctl([
      "exec", "primary", "--", "sh", "-c", "echo out; echo err >&2; exit 7",
    ])
    try expect(
      result.code == 7 && result.output == "out\n" && result.errors.contains("err"), "\(result)")
  }

  static func checkSockets(_ system: VosSystem) throws {
    let served = try sha256(of: system.lab.machine.servedFile)
    for script in ["curl -sS --fail \(url)", "busybox wget -q -O - \(url)"] {
      let digest = try system.inDomain("primary", "\(script) | sha256sum")
      try expect(digest.hasPrefix(served), "\(script) gave \(digest), expected \(served)")
    }
    let refused = try system.inDomain(
      "primary", "curl -sS http://127.0.0.1:9/ 2>&1; echo code $?")
    try expect(refused.contains("code 7"), "a closed port gave: \(refused)")
  }

  static func checkFiles(_ system: VosSystem) throws {
    try system.inDomain("primary", "cd /storage && sha256sum -c \(DiskBuild.dataFile).sha256")
    try system.inDomain(
      "primary", "cd /storage && cp \(DiskBuild.dataFile) copy && cmp \(DiskBuild.dataFile) copy")
    try system.inDomain("primary", "cd /storage && busybox cp copy copy2 && cmp copy copy2")
    try system.inDomain("primary", "cd /storage && sort docs/words.txt > sorted && sort -c sorted")
    try system.inDomain("primary", "cd /storage && rm copy copy2 sorted && [ ! -e copy ]")
    let missing = try system.inDomain("primary", "cat /storage/nothing 2>&1 || true")
    try expect(missing.contains("No such file"), "reading a missing file gave: \(missing)")
  }

  /// Devices and manifests that must not be taken.
  static let refusals = [
    LabCheck("a controller whose disk is mounted is refused by name") { system in
      try system.withDisk {
        try expectRefusal(system, VosSystem.manifest, mentions: ["0000:00:05.0", "mount"])
      }
    },
    LabCheck("a NIC in use is refused by name") { system in
      try system.onHost(
        "ip link set eth0 up; ip addr add \(LabMachine.guestAddress) dev eth0; "
          + "ip route add default via \(LabMachine.gateway)")
      defer { _ = try? system.onHost("ip addr flush dev eth0; ip link set eth0 down") }
      try expectRefusal(system, VosSystem.manifest, mentions: ["0000:01:00.0", "eth0"])
    },
    LabCheck("a device that does not exist is refused by name") { system in
      let path = try changedManifest(system, "s/0000:01:00.0/0000:7f:00.0/")
      try expectRefusal(system, path, mentions: ["0000:7f:00.0"])
    },
    LabCheck("a group shared with a device that stays is refused") { system in
      // The chipset's SMBus and AHCI controllers share a group, and the host drives the latter.
      let path = try changedManifest(system, "s/0000:00:05.0/0000:00:1f.3/")
      try expectRefusal(system, path, mentions: ["0000:00:1f.3", "0000:00:1f.2"])
    },
    LabCheck("a missing kernel is refused") { system in
      let path = try changedManifest(system, "s/vmlinuz/no-such-kernel/")
      try expectRefusal(system, path, mentions: ["no-such-kernel"])
    },
    LabCheck("an unknown key is refused with its line") { system in
      let path = try changedManifest(system, "s/^system:/sistem:/")
      try expectRefusal(system, path, mentions: ["sistem"])
    },
  ]

  /// A copy of the lab's manifest beside nothing else, edited by a sed script.
  private static func changedManifest(_ system: VosSystem, _ edit: String) throws -> String {
    let path = "/tmp/changed.yaml"
    try system.onHost(
      "sed -e '\(edit)' -e 's|\\.\\./out|/vos/out|' \(VosSystem.manifest) > \(path)")
    return path
  }

  static func expectRefusal(
    _ system: VosSystem, _ manifest: String, mentions words: [String]
  ) throws {
    let before = try system.drivers()
    let result = try system.vosctl(["up", manifest], withinSeconds: VosSystem.upSeconds)
    if result.code == 0 { _ = try? system.vosctl(["down"]) }
    try expect(result.code != 0, "up exited with 0")
    for word in words {
      try expect(result.errors.contains(word), "no \"\(word)\" in: \(result.errors)")
    }
    try expectClean(system, before)
  }

  /// Deaths of our processes at the worst time.
  static let recovery = [
    LabCheck("kill -9 of a vosvmm: noticed, and down gives its device back") { system in
      let before = try system.drivers()
      try system.up()
      do {
        let report = try system.report()
        let process = report.domains.first { $0.name == "network" }?.pid
        try expect(process != nil, "ps shows no process of the network domain")
        try system.onHost("kill -9 \(process ?? 0)")
        try waitUntil("ps says that the network domain failed") {
          try system.report().domains.contains { $0.name == "network" && $0.state != "ready" }
        }
      } catch {
        _ = try? system.vosctl(["down"])
        throw error
      }
      try system.down()
      try expectClean(system, before)
    },
    LabCheck("kill -9 of vosd: down finds and repairs") { system in
      let before = try system.drivers()
      try system.up()
      try system.onHost("kill -9 $(pidof vosd)")
      try system.down()
      try expectClean(system, before)
    },
    LabCheck("kill -9 of everything: the next up repairs and works") { system in
      let before = try system.drivers()
      try system.up()
      try system.onHost("kill -9 $(pidof vosd vosvmm)")
      try withSystem(system, expecting: before) {
        try system.inDomain("primary", "sha256sum /storage/\(DiskBuild.dataFile)")
      }
    },
    LabCheck("^C during up undoes it") { system in
      let before = try system.drivers()
      let script =
        "vosctl up \(VosSystem.manifest) > /tmp/up.log 2>&1 & "
        + "up=$!; until grep -q booting /tmp/up.log; do usleep 100000; done; "
        + "kill -INT $up; wait $up; code=$?; cat /tmp/up.log; exit $code"
      // A background job of sh ignores SIGINT unless job control is on.
      let result = try system.lab.agent.run(["sh", "-mc", script], withinSeconds: 120)
      try expect(result.code != 0, "an interrupted up exited with 0: \(result.output)")
      try expectClean(system, before)
    },
  ]

  static func waitUntil(
    _ what: String, withinSeconds seconds: Double = 60, _ condition: () throws -> Bool
  ) throws {
    let deadline = Date().addingTimeInterval(seconds)
    while try !condition() {
      guard Date() < deadline else {
        throw Failure("waited \(Int(seconds)) s in vain until \(what)")
      }
      usleep(200_000)
    }
  }
}
