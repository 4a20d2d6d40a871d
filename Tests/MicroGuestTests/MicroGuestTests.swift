// SPDX-License-Identifier: Apache-2.0
import Channel
import DeviceTree
import Foundation
import MicroHost
import Testing

private let seconds = 60

/// Micro guests in machines of this process, on /dev/kvm.
@Suite(.serialized, .enabled(if: Surroundings.hasKVM, "/dev/kvm cannot be opened"))
struct MicroGuestTests {
  private func passed(_ lines: [String]) -> Set<String> {
    Set(lines.filter { $0.hasPrefix("PASS ") }.map { String($0.dropFirst(5)) })
  }

  @Test func probeFindsEverythingInPlace() throws {
    let tree = try DomainDescription(
      domain: "probe", system: "test", generation: 1, processorCount: 1,
      memoryByteCount: 32 << 20
    ).encoded()
    let guest = try MicroGuest(
      "probe", kernel: try Surroundings.guest("probe"), commandLine: "hello probe",
      deviceTree: tree, channel: (try MicroChannel(), .client))
    try guest.start()
    let lines = try guest.finish(seconds: seconds)
    #expect(
      passed(lines) == [
        "console", "start-info", "device-tree", "acpi", "memory", "self-interrupt",
        "ring-3-call", "ring-3-no-halt", "ring-3-no-idt", "pci", "ecam", "ivshmem-bars",
        "ivshmem-revision", "ivshmem-registers", "ivshmem-memory", "channel",
      ])
    #expect(lines.contains("INFO command-line hello probe"))
    #expect(lines.contains("INFO pci 3 0x11101af4"))
    #expect(lines.contains("INFO ivshmem-peer 0"))
  }

  @Test func probeRunsWithoutAChannel() throws {
    let guest = try MicroGuest("bare", kernel: try Surroundings.guest("probe"))
    try guest.start()
    let lines = try guest.finish(seconds: seconds)
    #expect(lines.contains("INFO no-ivshmem"))
    #expect(passed(lines).contains("pci"))
  }

  @Test func doorbellsWakeTheOtherGuest() throws {
    let channel = try MicroChannel()
    let kernel = try Surroundings.guest("doorbell")
    let guests = [
      try MicroGuest("ringing", kernel: kernel, channel: (channel, .client)),
      try MicroGuest("answering", kernel: kernel, channel: (channel, .service)),
    ]
    for guest in guests { try guest.start() }
    for lines in try finishAll(guests) { #expect(passed(lines) == ["doorbell"]) }
  }

  @Test(.enabled(if: usableProcessors().count >= 2, "two processors are needed to spin on"))
  func callsAreServedWithoutDoorbells() throws {
    let channel = try MicroChannel(slices: CallsBenchmark.sliceCount)
    let processors = usableProcessors()
    let client = try MicroGuest(
      "client", kernel: try Surroundings.guest("calls-client"), commandLine: "brief",
      channel: (channel, .client))
    let service = try MicroGuest(
      "service", kernel: try Surroundings.guest("calls-service"), channel: (channel, .service))
    try service.start(on: processors[0])
    try client.start(on: processors[1])
    let lines = try finishAll([client, service])
    #expect(passed(lines[0]) == ["calls-client"])
    #expect(passed(lines[1]) == ["calls-service"])
    #expect(lines[0].contains("RESULT null_call_ticks_count 2000"))
    #expect(lines[0].contains("RESULT doorbell_ticks_count 20"))
    #expect(lines[0].contains("RESULT rings 0"))
    #expect(lines[0].filter { $0.hasPrefix("RESULT throughput_ticks_") }.count == 7)
    // Warm-ups, calls, raw games, the doorbells' counter and the end; and six runs of 64 calls
    // with each of seven numbers of calls outstanding. Then 50 times a call beside 64 of another
    // slice.
    let served: Int = 100 + 2000 + 16 + 2 + 7 * 6 * 64 + 50 * (64 + 1)
    #expect(lines[1].contains("RESULT served \(served)"))
  }

  /// With real-time priority, so that the host takes the processor from neither: a side that spun
  /// for its answer would hold it for a whole time slice (100 ms) each call.
  @Test func callsGetOnWhereOnlyOneGuestCanRun() throws {
    let channel = try MicroChannel()
    let kernel = try Surroundings.guest("waiting")
    let asking = try MicroGuest("asking", kernel: kernel, channel: (channel, .client))
    let answering = try MicroGuest("answering", kernel: kernel, channel: (channel, .service))
    let processor = try #require(usableProcessors().first)
    // First who sleeps at once: beside one that looks, this thread might not run to start another.
    try answering.start(on: processor)
    for _ in 0..<10_000 where channel.region.page(of: .service).state != .ready { usleep(1000) }
    try asking.start(on: processor)
    for lines in try finishAll([asking, answering]) {
      #expect(passed(lines) == ["waiting"])
      #expect(lines.contains("RESULT calls 400"))
      let sleeps = lines.compactMap { line in
        line.hasPrefix("RESULT sleeps ") ? Int(line.dropFirst(14)) : nil
      }
      // Nearly every wait must let the other run; nobody sleeps more often than there is to wait.
      #expect(sleeps.allSatisfy { (300...402).contains($0) }, "\(sleeps)")
      #expect(sleeps.count == 1)
    }
  }

  @Test(
    .enabled(if: usableProcessors().count >= 2, "two processors are needed to spin on"))
  func readsBringTheFilesBytes() throws {
    // One call; the first length in pieces; lengths that no piece divides; more pieces than fit
    // on their way; a last block that is short.
    let blocks = [61, 1024, 4096, 8193, 65_537, 262_144, 1_000_003, 2 << 20]
    let folder = URL(filePath: try Surroundings.guest("copy-client")).deletingLastPathComponent()
    let wrong = try CopyBenchmark(guestFolder: folder.path).check(blockBytes: blocks)
    #expect(wrong == blocks.map { _ in 0 })
  }

  @Test func aGuestWithoutAPeerIsStopped() throws {
    let guest = try MicroGuest(
      "alone", kernel: try Surroundings.guest("calls-service"),
      channel: (try MicroChannel(), .service))
    try guest.start()
    #expect(throws: MicroHostError.self) { try guest.finish(seconds: 1) }
  }

  /// Waits for all, so that a failure of one leaves none behind.
  private func finishAll(_ guests: [MicroGuest]) throws -> [[String]] {
    let results = guests.map { guest in Result { try guest.finish(seconds: seconds) } }
    return try results.map { try $0.get() }
  }
}

/// The same guests under another monitor, so that they rely on nothing but the specifications.
@Suite(.enabled(if: Surroundings.hasQEMU, "qemu-system-x86_64 is missing"))
struct ForeignMonitorTests {
  private static let machine = [
    "-M", "q35", "-accel", "tcg", "-cpu", "max", "-m", "64M", "-nic", "none", "-nographic",
    "-no-reboot", "-device", "ivshmem-plain,memdev=m",
  ]

  @Test func probeRunsUnderQEMU() throws {
    let output = try Surroundings.run(
      Surroundings.qemu,
      Self.machine + [
        "-kernel", try Surroundings.guest("probe"),
        "-object", "memory-backend-memfd,id=m,size=1M,share=on",
      ], seconds: 60)
    let passed = Set(
      output.split(whereSeparator: \.isNewline).filter { $0.hasPrefix("PASS ") })
    #expect(passed.isSuperset(of: ["PASS pci", "PASS acpi", "PASS ring-3-call", "PASS ecam"]))
    #expect(passed.contains("PASS ivshmem-memory"))
    #expect(!output.contains("FAIL"), "\(output)")
  }

  @Test(.enabled(if: usableProcessors().count >= 2, "two processors are needed to spin on"))
  func callsAreServedUnderQEMU() async throws {
    let channel = try MicroChannel(slices: CallsBenchmark.sliceCount)
    async let served = Self.run("calls-service", channel)
    async let asked = Self.run("calls-client", channel)
    let outputs = try await (asked, served)
    #expect(outputs.0.contains("PASS calls-client"), "\(outputs.0)")
    #expect(outputs.0.contains("RESULT rings 0"))
    #expect(outputs.1.contains("PASS calls-service"), "\(outputs.1)")
    withExtendedLifetime(channel) {}
  }

  /// Runs a guest of `channel` under QEMU, off the tests' own threads.
  private static func run(_ name: String, _ channel: MicroChannel) async throws -> String {
    let memory =
      "memory-backend-file,id=m,share=on,size=\(channel.region.geometry.regionBytes),"
      + "mem-path=" + channel.path
    let arguments =
      machine + [
        "-kernel", try Surroundings.guest(name), "-append", "brief", "-object", memory,
      ]
    return try await withCheckedThrowingContinuation { continuation in
      Thread.detachNewThread {
        continuation.resume(
          with: Result {
            try Surroundings.run(Surroundings.qemu, arguments, seconds: 120)
          })
      }
    }
  }
}
