// SPDX-License-Identifier: Apache-2.0
import Glibc

/// Measures reads of a file between two micro guests against the host's own reads of such a file.
public struct CopyBenchmark {
  /// One block size.
  public struct Point: Sendable {
    public let blockBytes: Int
    /// Of one block: through the channel, and by the host's `pread` from tmpfs.
    public let channelNanoseconds: Double
    public let nativeNanoseconds: Double
    /// Median, over the rounds, of channel to native.
    public let ratio: Double
  }

  /// All figures of one run.
  public struct Figures: Sendable {
    public let points: [Point]
    public let processors: [Int]
  }

  /// 32 B, 64 B, … 2 MiB.
  public static let blockBytes: [Int] = (5...21).map { 1 << $0 }
  private static let rounds = 7
  /// Short blocks need long for a transfer, long ones little: so many are made in a round.
  private static let bytesForTransfer = 2048
  private static let mostTransfers = 32

  private let guestFolder: String

  /// - Parameter guestFolder: of the guests' ELF files.
  public init(guestFolder: String) {
    self.guestFolder = guestFolder
  }

  /// Whether blocks of `bytes` can be measured: powers of two divide the file.
  public static func isBlock(_ bytes: Int) -> Bool {
    (8...CopyPage.maximumBlockBytes).contains(bytes) && bytes & (bytes - 1) == 0
  }

  /// Transfers 16 MiB at each block size (`isBlock`) by both ways in turn.
  public func run(_ blocks: [Int] = blockBytes) throws(MicroHostError) -> Figures {
    try CopySession.with(guestFolder: guestFolder) { session throws(MicroHostError) in
      let native = try NativeFile()
      var points: [Point] = []
      for block in blocks {
        try session.mustBeRight(block)
        points.append(try Self.measure(block, session, native))
      }
      return Figures(points: points, processors: session.processors)
    }
  }

  /// Reads the file in blocks of each length and looks at every byte; returns how many were wrong.
  public func check(blockBytes: [Int]) throws(MicroHostError) -> [UInt64] {
    try CopySession.with(guestFolder: guestFolder) { session throws(MicroHostError) in
      var wrong: [UInt64] = []
      for block in blockBytes { wrong.append(try session.check(block)) }
      return wrong
    }
  }

  private static func measure(
    _ block: Int, _ session: CopySession, _ native: borrowing NativeFile
  ) throws(MicroHostError) -> Point {
    let transfers = min(max(block / bytesForTransfer, 1), mostTransfers)
    var channel: [Double] = []
    var host: [Double] = []
    for _ in 0..<rounds {
      channel.append(try session.measure(block, transfers: transfers))
      host.append(try native.measure(block, transfers: transfers))
    }
    let blocks = Double(CopyPage.fileBytes / block)
    return Point(
      blockBytes: block, channelNanoseconds: median(channel) / blocks,
      nativeNanoseconds: median(host) / blocks,
      ratio: median(zip(channel, host).map { $0 / $1 }))
  }
}

/// The middle one of `values`; 0 if there is none.
func median(_ values: [Double]) -> Double {
  values.isEmpty ? 0 : values.sorted()[values.count / 2]
}

/// Two running guests, of which the client takes orders.
final class CopySession {
  let processors: [Int]
  private let channel: MicroChannel
  private let client: MicroGuest
  private let service: MicroGuest
  private var number: UInt64 = 0
  /// Ticks of the client's clock in a millisecond; 0 before they were measured.
  private var kilohertz = 0.0

  private static let arenaBytes = 1 << 20
  private static let memoryBytes: UInt64 = 64 << 20
  private static let orderSeconds: UInt64 = 30
  private static let endSeconds = 10
  private static let lookMicroseconds: UInt32 = 2000

  private init(guestFolder: String) throws(MicroHostError) {
    let usable = usableProcessors()
    guard usable.count >= 2 else {
      throw .tooFewProcessors(available: usable.count, needed: 2)
    }
    processors = Array(usable.prefix(2))
    channel = try MicroChannel(arenaBytes: Self.arenaBytes)
    service = try MicroGuest(
      "copy-service", kernel: guestFolder + "/copy-service", memoryBytes: Self.memoryBytes,
      channel: (channel, .service))
    client = try MicroGuest(
      "copy-client", kernel: guestFolder + "/copy-client", memoryBytes: Self.memoryBytes,
      channel: (channel, .client))
  }

  /// Runs `body` while both guests run, and ends them after it.
  static func with<R>(
    guestFolder: String, _ body: (CopySession) throws(MicroHostError) -> R
  ) throws(MicroHostError) -> R {
    let session = try CopySession(guestFolder: guestFolder)
    prefer(RealTime.host)
    defer { preferNoLonger() }
    try session.service.start(on: session.processors[0])
    try session.client.start(on: session.processors[1])
    let result = Result { () throws(MicroHostError) in try body(session) }
    // Both are waited for even if something has failed, so that no thread is left.
    session.post(block: 0)
    let ends = [session.client, session.service].map { guest in
      Result { () throws(MicroHostError) in try guest.finish(seconds: endSeconds) }
    }
    // A guest's own words say more than that it did not answer.
    for end in ends { _ = try end.get() }
    return try result.get()
  }

  /// Nanoseconds of one transfer: the median of `transfers`.
  func measure(_ block: Int, transfers: Int) throws(MicroHostError) -> Double {
    if kilohertz == 0 { kilohertz = channel.measureKilohertz(clockAt: CopyPage.clock) }
    try order(block: block, transfers: transfers)
    guard channel.load(CopyPage.wrongBytes) == 0 else { throw .badCopy(block, wrongBytes: nil) }
    return Double(channel.load(CopyPage.ticks)) * 1_000_000 / kilohertz
  }

  /// Has the file filled anew and read; returns how many bytes were wrong.
  func check(_ block: Int) throws(MicroHostError) -> UInt64 {
    try order(block: block, seed: number + 1)
    return channel.load(CopyPage.wrongBytes)
  }

  func mustBeRight(_ block: Int) throws(MicroHostError) {
    let wrong = try check(block)
    guard wrong == 0 else { throw .badCopy(block, wrongBytes: wrong) }
  }

  private func post(block: Int, transfers: Int = 1, seed: UInt64 = 0) {
    number += 1
    channel.store(CopyPage.blockBytes, UInt64(block))
    channel.store(CopyPage.transfers, UInt64(transfers))
    channel.store(CopyPage.seed, seed)
    channel.store(CopyPage.order, number)
  }

  private func order(
    block: Int, transfers: Int = 1, seed: UInt64 = 0
  ) throws(MicroHostError) {
    post(block: block, transfers: transfers, seed: seed)
    let limit = monotonicNanoseconds() + Self.orderSeconds * 1_000_000_000
    while channel.load(CopyPage.answer) != number {
      guard monotonicNanoseconds() < limit else {
        throw .stepNotReached(step: number, seconds: Int(Self.orderSeconds))
      }
      usleep(Self.lookMicroseconds)
    }
  }
}
