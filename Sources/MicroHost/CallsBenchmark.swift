// SPDX-License-Identifier: Apache-2.0
import Glibc
import KVM

/// Measures null calls between two micro guests, each on a processor of its own.
public struct CallsBenchmark {
  /// A distribution's points, in nanoseconds.
  public struct Points: Sendable {
    public let p50: Double
    public let p99: Double
    public let p999: Double
  }

  /// Calls that end in a second while a number of them are always outstanding.
  public struct Throughput: Sendable {
    public let outstanding: Int
    public let callsPerSecond: Double
  }

  /// All figures of one run.
  public struct Figures: Sendable {
    public let nullCall: Points
    /// One cache line there and back, in the same run.
    public let rawRoundTrip: Points
    /// From the doorbell's write to the other guest's handler.
    public let doorbell: Points
    /// One system call of the host.
    public let getppidNanoseconds: Double
    /// With 1, 2, 4, … 64 outstanding calls.
    public let throughput: [Throughput]
    /// Calls of a slice right after another one posted all its slots.
    public let besideOthers: Points
    public let callCount: UInt64
    /// Exits of both guests' CPUs while the calls, and raw round trips in turn with them, ran.
    public let exits: UInt64
    /// Of these, those that interrupts of the host caused, and no instruction of a guest.
    public let interruptExits: UInt64
    /// Doorbells that calls asked for.
    public let rings: UInt64
    public let processors: [Int]

    /// What another slice's calls cost, at the 99th percentile.
    public var fairness: Double { besideOthers.p99 / nullCall.p99 }
    public var ratio: Double { nullCall.p50 / rawRoundTrip.p50 }
    public var exitsPerCall: Double { Double(exits) / Double(callCount) }
  }

  /// The folder of the guests' ELF files.
  private let guestFolder: String
  /// One that is measured, and one that has calls of its own meanwhile.
  public static let sliceCount = 2
  private static let stepSeconds = 30
  private static let endSeconds = 30

  public init(guestFolder: String) {
    self.guestFolder = guestFolder
  }

  public func run() throws(MicroHostError) -> Figures {
    let processors = usableProcessors()
    guard processors.count >= 2 else {
      throw .tooFewProcessors(available: processors.count, needed: 2)
    }
    let channel = try MicroChannel(slices: Self.sliceCount)
    let service = try MicroGuest(
      "calls-service", kernel: guestFolder + "/calls-service", channel: (channel, .service))
    let client = try MicroGuest(
      "calls-client", kernel: guestFolder + "/calls-client", commandLine: BenchPage.gateOption,
      channel: (channel, .client))
    prefer(RealTime.host)
    defer { preferNoLonger() }
    try service.start(on: processors[0])
    try client.start(on: processors[1])
    let measured = Result { () throws(MicroHostError) in
      try measure(channel, [client, service])
    }
    // Both are waited for even if something has failed, so that no thread is left.
    let (asked, served) = (finish(client), finish(service))
    let (exits, kilohertz) = try measured.get()
    let lines = try asked.get()
    _ = try served.get()
    return try figures(
      Results(lines, guest: client.name), kilohertz, exits, Array(processors.prefix(2)))
  }

  private func finish(_ guest: MicroGuest) -> Result<[String], MicroHostError> {
    Result { () throws(MicroHostError) in try guest.finish(seconds: Self.endSeconds) }
  }

  private func figures(
    _ results: Results, _ kilohertz: Double, _ exits: Exits, _ processors: [Int]
  ) throws(MicroHostError) -> Figures {
    Figures(
      nullCall: try results.points("null_call_ticks", kilohertz),
      rawRoundTrip: try results.points("raw_ticks", kilohertz),
      doorbell: try results.points("doorbell_ticks", kilohertz),
      getppidNanoseconds: measureGetppid(),
      throughput: try results.throughput(kilohertz),
      besideOthers: try results.points("beside_ticks", kilohertz),
      callCount: try results.number("null_call_ticks_count"), exits: exits.all,
      interruptExits: exits.interrupts, rings: try results.number("rings"),
      processors: processors)
  }

  /// Exits of all CPUs, counted by KVM.
  private struct Exits {
    var all: UInt64 = 0
    var interrupts: UInt64 = 0

    init(of guests: [MicroGuest]) throws(MicroHostError) {
      for guest in guests { try add(guest) }
    }

    private mutating func add(_ guest: MicroGuest) throws(MicroHostError) {
      do {
        all += try guest.statistics.value("exits") ?? 0
        interrupts += try guest.statistics.value("irq_exits") ?? 0
      } catch {
        throw .badRun(guest: guest.name, reason: "statistics: \(error)", console: [])
      }
    }

    static func - (left: Exits, right: Exits) -> Exits {
      var difference = left
      difference.all &-= right.all
      difference.interrupts &-= right.interrupts
      return difference
    }
  }

  /// Lets the client through its gates; returns what happened between them and the rate of the
  /// time stamp counter.
  private func measure(
    _ channel: MicroChannel, _ guests: [MicroGuest]
  ) throws(MicroHostError) -> (Exits, kilohertz: Double) {
    try wait(channel, for: BenchPage.Step.ready)
    let kilohertz = channel.measureKilohertz(clockAt: BenchPage.ticks)
    let before = try Exits(of: guests)
    channel.store(BenchPage.gate, BenchPage.Step.ready)
    try wait(channel, for: BenchPage.Step.measured)
    let after = try Exits(of: guests)
    channel.store(BenchPage.gate, BenchPage.Step.measured)
    return (after - before, kilohertz)
  }

  private func wait(_ channel: MicroChannel, for step: UInt64) throws(MicroHostError) {
    let limit = monotonicNanoseconds() + UInt64(Self.stepSeconds) * 1_000_000_000
    while channel.load(BenchPage.step) < step {
      guard monotonicNanoseconds() < limit else {
        throw .stepNotReached(step: step, seconds: Self.stepSeconds)
      }
      usleep(10_000)
    }
  }

  /// Nanoseconds of the host's cheapest system call: the median over batches.
  private func measureGetppid() -> Double {
    let callsInBatch = 200
    let batches = (0..<2001).map { _ in
      let start = monotonicNanoseconds()
      for _ in 0..<callsInBatch { _ = getppid() }
      return Double(monotonicNanoseconds() - start) / Double(callsInBatch)
    }
    return batches.sorted()[batches.count / 2]
  }
}

/// The lines `RESULT name number` of a guest's console.
private struct Results {
  private let numbers: [String: UInt64]
  private let lines: [String]
  private let guest: String

  init(_ lines: [String], guest: String) {
    var numbers: [String: UInt64] = [:]
    for line in lines {
      let words = line.split(separator: " ")
      if words.count == 3, words[0] == "RESULT" { numbers[String(words[1])] = UInt64(words[2]) }
    }
    self.numbers = numbers
    self.lines = lines
    self.guest = guest
  }

  func number(_ name: String) throws(MicroHostError) -> UInt64 {
    guard let number = numbers[name] else {
      throw .badRun(guest: guest, reason: "it gave no \(name)", console: lines)
    }
    return number
  }

  func throughput(_ kilohertz: Double) throws(MicroHostError) -> [CallsBenchmark.Throughput] {
    let calls = try number("throughput_calls")
    var all: [CallsBenchmark.Throughput] = []
    for outstanding in [1, 2, 4, 8, 16, 32, 64] {
      let ticks = try number("throughput_ticks_\(outstanding)")
      all.append(
        .init(
          outstanding: outstanding,
          callsPerSecond: Double(calls) * kilohertz * 1000 / Double(max(ticks, 1))))
    }
    return all
  }

  func points(
    _ name: String, _ kilohertz: Double
  ) throws(MicroHostError) -> CallsBenchmark.Points {
    let nanoseconds = 1_000_000 / kilohertz
    return CallsBenchmark.Points(
      p50: Double(try number(name + "_p50")) * nanoseconds,
      p99: Double(try number(name + "_p99")) * nanoseconds,
      p999: Double(try number(name + "_p999")) * nanoseconds)
  }
}
