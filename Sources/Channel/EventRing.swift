// SPDX-License-Identifier: Apache-2.0
import CVosABI

/// What the service tells the client's kernel.
public enum ChannelEvent: Equatable, Sendable {
  /// The call in `slot` of `slice` is done and had a waiter.
  case completion(slice: UInt32, slot: UInt32)
  /// The object with `cookie` has `readiness` (`EPOLL*` bits).
  case ready(cookie: UInt64, readiness: UInt32)
}

/// The service's end of the event ring. One thread at a time.
public struct EventProducer: Sendable {
  private let region: ChannelRegion
  private var index: UInt32
  /// What the client claimed that cannot be true.
  public private(set) var fault: ProtocolFault?

  /// Goes on where the ring stands.
  public init(region: ChannelRegion) {
    self.region = region
    index = region.page(of: .service).eventIndex
  }

  /// Writes an event; a full ring is counted in `eventOverflow` and the event is lost. Ring the
  /// client's doorbell after the last one of a batch.
  ///
  /// - Returns: whether the event was written.
  @discardableResult
  public mutating func post(_ event: ChannelEvent) -> Bool {
    let page = region.page(of: .service)
    // What the client claims to have read; a claim that cannot be true is a full ring.
    let read = region.page(of: .client).eventIndex
    guard index &- read < UInt32(region.geometry.eventCount) else {
      if index &- read > UInt32(region.geometry.eventCount) { fault = .eventIndex(read) }
      page.eventOverflow = page.eventOverflow &+ 1
      return false
    }
    region.write(event, at: index)
    index &+= 1
    page.eventIndex = index
    return true
  }
}

/// The client's end of the event ring: its kernel, or the host on a control channel.
public struct EventConsumer: Sendable {
  private let region: ChannelRegion
  private var index: UInt32
  private var overflow: UInt32
  /// What the service wrote that cannot be true.
  public private(set) var fault: ProtocolFault?

  /// Starts with the events written from now on.
  public init(region: ChannelRegion) {
    self.region = region
    let page = region.page(of: .service)
    index = page.eventIndex
    overflow = page.eventOverflow
    region.page(of: .client).eventIndex = index
  }

  /// Whether events were lost since the last question: look at everything then.
  public mutating func lostSome() -> Bool {
    let now = region.page(of: .service).eventOverflow
    defer { overflow = now }
    return now != overflow
  }

  /// The next event; `nil` if there is none. Entries that make no sense are skipped. An index
  /// that cannot be true, which is the service breaking the protocol, skips to it.
  public mutating func next() -> ChannelEvent? {
    let written = region.page(of: .service).eventIndex
    if written &- index > UInt32(region.geometry.eventCount) {
      fault = .eventIndex(written)
      skip(to: written)
      return nil
    }
    while index != written {
      let event = region.readEvent(at: index)
      skip(to: index &+ 1)
      if let event { return event }
      fault = .event
    }
    return nil
  }

  private mutating func skip(to index: UInt32) {
    self.index = index
    region.page(of: .client).eventIndex = index
  }
}

extension ChannelRegion {
  private func eventOffset(_ index: UInt32) -> Int {
    geometry.eventRingOffset + (Int(index) & (geometry.eventCount - 1)) * Geometry.eventBytes
  }

  fileprivate func write(_ event: ChannelEvent, at index: UInt32) {
    let at = eventOffset(index)
    let (type, slice, cookie, value) =
      switch event {
      case .completion(let slice, let slot): (VOS_EVENT_COMPLETION, slice, UInt64(0), slot)
      case .ready(let cookie, let readiness): (VOS_EVENT_READY, UInt32(0), cookie, readiness)
      }
    // SAFETY: words of one entry; the index is masked.
    unsafe vos_store_release32(word32(at), type)
    unsafe vos_store_release32(word32(at + 4), slice)
    unsafe vos_store_release64(word64(at + 8), cookie)
    unsafe vos_store_release32(word32(at + 16), value)
  }

  fileprivate func readEvent(at index: UInt32) -> ChannelEvent? {
    let at = eventOffset(index)
    // SAFETY: words of one entry; the index is masked.
    let type = unsafe vos_load_acquire32(word32(at))
    let slice = unsafe vos_load_acquire32(word32(at + 4))
    let cookie = unsafe vos_load_acquire64(word64(at + 8))
    let value = unsafe vos_load_acquire32(word32(at + 16))
    if type == VOS_EVENT_READY { return .ready(cookie: cookie, readiness: value) }
    guard type == VOS_EVENT_COMPLETION, slice < UInt32(geometry.sliceCount),
      value < UInt32(geometry.slotCount)
    else { return nil }
    return .completion(slice: slice, slot: value)
  }
}
