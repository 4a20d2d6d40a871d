// SPDX-License-Identifier: Apache-2.0
import CVosABI

/// What a side saw in the region that the protocol does not allow.
public enum ProtocolFault: Equatable, Sendable {
  /// A slot in use has a word that no call has, or a reply that no service gives.
  case reply(slot: Int)
  /// Words of a call in flight changed that only its caller writes.
  case call(slot: Int)
  /// An event index more than a ring away.
  case eventIndex(UInt32)
  /// An event of no known kind, or of a slot that does not exist.
  case event
  /// This side's own page does not say what this side has said.
  case page
  /// An entry of the slice table is not as its only writer wrote it, or has no known state.
  case sliceTable(slice: Int)
  /// The other side has declared the channel broken, or says of itself what nobody says.
  case declared
  /// The other side has not shown for so long that it lives, or has not answered what it answers at
  /// once.
  case silence(milliseconds: UInt64)
}

/// One side's judgement of a channel, for the time of one life of it.
///
/// Each side of a channel begins a life when the host says that it is alive, and ends it when the
/// host says otherwise or when either side declares the channel broken. That the other side comes
/// and goes is no end. In between it looks here now and then, at least every 100 ms:
///
///     .sound ──► .ended     the host counts another life, or none: end all calls, then `leave`
///        └─────► .broken    what was seen: end all calls, then `declareBroken`, until `.ended`
///
/// From then on it touches nothing of the region but its own page, until the host begins a life with
/// another generation. Announce `generation` in the own page before the first look.
@safe
public struct ChannelWatch: Sendable {
  /// What has become of the channel.
  public enum Verdict: Equatable, Sendable {
    case sound
    case ended
    case broken(ProtocolFault)
  }

  private let region: ChannelRegion
  public let side: ChannelSide
  /// Of this side, in this life.
  public let generation: UInt32
  /// Of the other side, if it is alive.
  private var otherGeneration: UInt32?
  private let patience: UInt64?
  private var heartbeat: UInt64 = 0
  private var heardAt: UInt64

  /// Begins a life; `nil` while the host does not say that `side` is alive.
  ///
  /// - Parameters:
  ///   - milliseconds: of a clock that never goes back.
  ///   - patience: how long the other side's heartbeat may stand still; `nil` if it has none.
  public init?(
    region: ChannelRegion, side: ChannelSide, milliseconds: UInt64, patience: UInt64? = nil
  ) {
    generation = region.generation(of: side)
    guard region.life(of: side) == .alive else { return nil }
    self.region = region
    self.side = side
    self.patience = patience
    heardAt = milliseconds
  }

  /// Looks at what the host and the other side say.
  public mutating func look(milliseconds now: UInt64) -> Verdict {
    guard region.life(of: side) == .alive, region.generation(of: side) == generation else {
      return .ended
    }
    if region.page(of: side).generation != generation { return .broken(.page) }
    guard region.life(of: side.other) == .alive else {
      otherGeneration = nil
      return .sound
    }
    if region.isDeclaredBroken(by: side.other) { return .broken(.declared) }
    return listen(now)
  }

  private mutating func listen(_ now: UInt64) -> Verdict {
    let (beat, other) = (region.page(of: side.other).heartbeat, region.generation(of: side.other))
    if beat != heartbeat || otherGeneration != other {
      (heartbeat, otherGeneration, heardAt) = (beat, other, now)
    }
    guard let patience, now &- heardAt > patience else { return .sound }
    return .broken(.silence(milliseconds: now &- heardAt))
  }

  /// Says to the other side and to the host that this channel is broken, until the host ends this
  /// life. Ring both afterwards.
  public func declareBroken() {
    region.page(of: side).announce(.broken, generation: generation)
  }
}

extension ChannelRegion {
  /// A side without a life says that it has ended all that it had, whatever the host counts now.
  /// May be said again and again, until the host begins a new life.
  public func leave(_ side: ChannelSide) {
    page(of: side).announce(.absent, generation: generation(of: side))
  }

  /// Whether `side` says that it has left the life with this generation (the host asks).
  public func hasLeft(_ side: ChannelSide, generation: UInt32) -> Bool {
    page(of: side).standing == (.absent, generation)
  }

  /// Whether `side` has declared the channel broken in the life that the host counts now, or says
  /// what nobody says.
  public func isDeclaredBroken(by side: ChannelSide) -> Bool {
    page(of: side).standing == (.broken, generation(of: side))
  }
}
