// SPDX-License-Identifier: Apache-2.0
import LaunchPlan
import Testing

/// A plan that uses every field.
private let fullPlan = LaunchPlan(
  domain: "network", vcpuCount: 2, memoryBytes: 256 << 20, memory: 0, hugePages: true, kvm: 1,
  kernel: 2, initrd: 3, deviceTree: 4, commandLine: "console=ttyS0 panic=-1 a=b=c",
  console: 5,
  ivshmem: [
    .init(
      slot: 3, region: 6, regionBytes: 1 << 20, peer: 1, vectors: [7],
      remotes: [.init(peer: 0, vectors: [8]), .init(peer: 2, vectors: [9, 10])],
      readOnly: [.init(offset: 0, byteCount: 8192), .init(offset: 12288, byteCount: 4096)]),
    .init(slot: 4, region: 11, regionBytes: 4096, peer: 0, vectors: [12, 13]),
  ],
  vfioContainer: 14, vfio: [.init(slot: 5, address: "0000:01:00.0", device: 15)])

private let smallest = """
  vos-launch-plan=1
  domain=d
  vcpus=1
  memory-bytes=2097152
  memory=0
  kvm=1
  kernel=2
  command-line=
  console=3

  """

private func decode(_ text: String, count: Int = 4) throws(LaunchPlanError) -> LaunchPlan {
  try LaunchPlan(decoding: Array(text.utf8), descriptorCount: count)
}

private func reason(_ text: String, count: Int = 4) -> String {
  do {
    _ = try decode(text, count: count)
    return "accepted"
  } catch {
    return error.description
  }
}

@Test func everyFieldSurvivesTheText() throws {
  #expect(try decode(fullPlan.text, count: 16) == fullPlan)
}

@Test func theSmallestPlanIsAccepted() throws {
  let plan = try decode(smallest)
  #expect(plan.hugePages == false)
  #expect(plan.initrd == nil && plan.vfio.isEmpty && plan.ivshmem.isEmpty)
  #expect(try decode(plan.text) == plan)
}

@Test(arguments: [
  ("vcpus=1", "vcpus=0", "line 3: vcpus is 0, expected 1 to 64"),
  ("vcpus=1", "vcpus=+1", "line 3: vcpus is +1, expected 1 to 64"),
  ("vcpus=1", "vcpus=01", "line 3: vcpus is 01, expected 1 to 64"),
  ("vcpus=1", "vcpus=99999999999999999999", "line 3"),
  ("vcpus=1", "vcpus", "line 3: expected key=value"),
  ("vcpus=1", "vcpu=1", "line 3: unknown key vcpu"),
  ("vcpus=1", "vcpus=1\nvcpus=1", "line 4: vcpus given twice"),
  ("vcpus=1\n", "", "no vcpus"),
  ("vos-launch-plan=1", "vos-launch-plan=2", "line 1: expected vos-launch-plan=1"),
  ("memory-bytes=2097152", "memory-bytes=2097153", "line 4: memory-bytes is 2097153"),
  ("memory-bytes=2097152", "memory-bytes=0", "line 4: memory-bytes is 0"),
  ("domain=d", "domain=a/b", "line 2: domain is \"a/b\""),
  ("domain=d", "domain=", "line 2: domain is \"\""),
  ("domain=d", "domain=\u{1}", "line 2: not plain text"),
  ("kernel=2", "kernel=1", "descriptor 1 named twice"),
  ("kernel=2", "kernel=4", "descriptor 4 named, only 4 came"),
  ("kernel=2", "kernel=253", "line 7: kernel is 253"),
  ("kernel=2", "kernel=-1", "line 7: kernel is -1"),
  ("console=3\n", "console=3\n\n", "line 10: expected key=value"),
  ("console=3\n", "console=3\nhuge-pages=yes\n", "line 10: huge-pages is yes"),
  ("console=3\n", "console=3\nivshmem.region=4\n", "line 10: ivshmem.region comes before"),
  ("console=3\n", "console=3\nvfio.device=4\n", "line 10: vfio.device comes before vfio.slot"),
  ("console=3\n", "console=3\nivshmem.slot=0\n", "line 10: ivshmem.slot is 0"),
  ("console=3\n", "console=3\nivshmem.slot=3\n", "line 10: ivshmem entry lacks"),
  ("console=3\n", "console=3\nvfio.slot=3\n", "line 10: vfio entry lacks"),
  ("console=3\n", "console=3\nivshmem.slot=1\nivshmem.x=1\n", "line 11: unknown key ivshmem.x"),
  ("console=3\n", "console=3\nvfio-container=4\n", "vfio-container is needed exactly"),
])
func mistakesAreNamed(old: String, new: String, expected: String) {
  let pieces = smallest.split(separator: old, maxSplits: 1, omittingEmptySubsequences: false)
  let text = String(pieces[0]) + new + String(pieces[1])
  #expect(reason(text).contains(expected), "\(reason(text))")
}

@Test(arguments: [
  ("ivshmem.slot=4", "ivshmem.slot=3", "PCI slot 3 given twice"),
  ("vfio.slot=5", "vfio.slot=4", "PCI slot 4 given twice"),
  ("ivshmem.region-bytes=4096", "ivshmem.region-bytes=4095", "ivshmem.region-bytes is 4095"),
  ("ivshmem.region-bytes=4096", "ivshmem.region-bytes=12288", "ivshmem.region-bytes is 12288"),
  ("ivshmem.remote=0:8", "ivshmem.remote=1:8", "peer 1 given twice"),
  ("ivshmem.remote=0:8", "ivshmem.remote=65536:8", "expected a peer id of 16 bits"),
  ("ivshmem.remote=0:8", "ivshmem.remote=8", "expected two parts with a colon"),
  ("ivshmem.remote=0:8", "ivshmem.remote=0:8,", "expected a descriptor's index"),
  ("ivshmem.peer=1", "ivshmem.peer=1\nivshmem.peer=1", "ivshmem.peer given twice"),
  ("ivshmem.read-only=0:8192", "ivshmem.read-only=0:8191", "whole pages"),
  ("ivshmem.read-only=0:8192", "ivshmem.read-only=0:0", "whole pages"),
  ("ivshmem.read-only=0:8192", "ivshmem.read-only=0:16384", "overlaps or leaves"),
  ("ivshmem.read-only=0:8192", "ivshmem.read-only=1048576:4096", "overlaps or leaves"),
  (
    "ivshmem.read-only=0:8192", "ivshmem.read-only=18446744073709547520:8192",
    "overlaps or leaves"
  ),
  ("vfio.address=0000:01:00.0", "vfio.address=../../etc/", "expected an address"),
  ("vfio.address=0000:01:00.0", "vfio.address=0000:01:00.G", "expected an address"),
])
func mistakesInListsAreNamed(old: String, new: String, expected: String) {
  let pieces = fullPlan.text.split(separator: old, maxSplits: 1, omittingEmptySubsequences: false)
  let text = String(pieces[0]) + new + String(pieces[1])
  #expect(reason(text, count: 16).contains(expected), "\(reason(text, count: 16))")
}

@Test func leftOverDescriptorsAreRefused() {
  #expect(
    reason(smallest, count: 5) == "launch plan: descriptor 4 came but is not named; "
      + "use the vosd and vosvmm of one build")
}

@Test func emptyAndHugeTextsAreRefused() {
  #expect(reason("", count: 0).contains("no domain") || reason("", count: 0).contains("line"))
  #expect(reason(String(repeating: "a", count: 60_001)).contains("60001 bytes"))
}

@Test func everyTruncationIsRefusedOrWhole() {
  let text = Array(fullPlan.text.utf8)
  for length in 0..<text.count - 1 {
    #expect(throws: LaunchPlanError.self) {
      try LaunchPlan(decoding: Array(text.prefix(length)), descriptorCount: 16)
    }
  }
}

@Test func randomBytesNeverTrap() {
  var generator = SystemRandomNumberGenerator()
  let seed = Array(fullPlan.text.utf8)
  for _ in 0..<2000 {
    var bytes = seed
    for _ in 0..<Int.random(in: 1...8, using: &generator) {
      bytes[Int.random(in: 0..<bytes.count, using: &generator)] = UInt8.random(
        in: 0...255, using: &generator)
    }
    _ = try? LaunchPlan(decoding: bytes, descriptorCount: 16)
  }
}
