// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Channel
import Glibc
import LinuxSystem

/// Why a channel cannot be made.
enum ChannelResourceError: Error, CustomStringConvertible {
  case system(SystemCallError)
  case geometry(GeometryError)

  var description: String {
    switch self {
    case .system(let error): error.sentence
    case .geometry(let error):
      "it cannot be laid out (\(error)); give it fewer slices or a smaller arena"
    }
  }
}

/// A channel that exists: its sealed region and the doorbells of its three peers.
final class ChannelResources {
  let plan: SystemLayout.ChannelPlan
  /// The region, mapped whole; it must outlive `view`.
  let mapping: SharedMapping
  let region: OwnedDescriptor
  let view: ChannelRegion
  /// Indexed by peer: VOS_PEER_CLIENT, VOS_PEER_SERVICE, VOS_PEER_HOST.
  private let clientBell: EventDescriptor
  private let serviceBell: EventDescriptor
  private let hostBell: EventDescriptor
  var life = ChannelLifeCycle(at: EventLoop.now())
  /// What we say of the sides; a copy that no machine can write.
  private var client = ChannelRegion.Life(.absent, generation: 0)
  private var service = ChannelRegion.Life(.absent, generation: 0)

  /// Makes the region with its superblock, and the doorbells.
  init(_ plan: SystemLayout.ChannelPlan) throws(ChannelResourceError) {
    self.plan = plan
    do throws(SystemCallError) {
      let bytes = plan.geometry.regionBytes
      region = try .sharedMemory(name: "vos-\(plan.service)-\(plan.name)", byteCount: bytes)
      mapping = try SharedMapping(region, byteCount: bytes)
      clientBell = try EventDescriptor()
      serviceBell = try EventDescriptor()
      hostBell = try EventDescriptor()
    } catch {
      throw .system(error)
    }
    do throws(GeometryError) {
      let name = Array(plan.name.utf8)
      // SAFETY: a fresh region of the geometry's size, zeroed, mapped for as long as `self` lives.
      view = unsafe try ChannelRegion(
        formatting: mapping.baseAddress, geometry: plan.geometry, name: name.span)
    } catch {
      throw .geometry(error)
    }
    if plan.client == nil {
      client = .init(.alive, generation: 1)
      view.announce(.client, life: .alive, generation: 1)
      beClient()
    }
  }

  /// The host is the client of a control channel: it speaks for the client's side and holds slice 0.
  private func beClient() {
    view.page(of: .client).announce(.ready, generation: client.generation)
    view.publish(SliceEntry(state: .live, generation: client.generation), slice: 0)
  }

  /// The descriptor that `peer` is rung by.
  func bell(_ peer: UInt32) -> Int32 {
    switch peer {
    case VOS_PEER_CLIENT: clientBell.descriptor.rawValue
    case VOS_PEER_SERVICE: serviceBell.descriptor.rawValue
    default: hostBell.descriptor.rawValue
    }
  }

  /// Rings `peer`.
  func ring(_ peer: UInt32) {
    switch peer {
    case VOS_PEER_CLIENT: clientBell.ring()
    case VOS_PEER_SERVICE: serviceBell.ring()
    default: hostBell.ring()
    }
  }

  /// Takes the rings that were meant for the host: as itself, and as a control channel's client.
  func takeRings() {
    _ = hostBell.take()
    if plan.client == nil { _ = clientBell.take() }
  }

  /// Begins a life of `side` with a blank page, and tells both sides. In a channel that is broken it
  /// begins with letting go, like everybody's there.
  func begin(_ side: ChannelSide) {
    forget(side)
    self[side].generation &+= 1
    self[side].life = .alive
    announce(side, life: life.isSound ? .alive : .failed)
  }

  /// Ends the life of `side`. A client that is gone leaves its slices dead, so that the service lets
  /// go of what it holds for them.
  func end(_ side: ChannelSide, as life: SideLife) {
    guard self[side].generation > 0 else { return }
    if side == .client, self.life.isSound { burySlices() }
    self[side].life = life
    announce(side, life: life)
  }

  private subscript(side: ChannelSide) -> ChannelRegion.Life {
    get { side == .client ? client : service }
    set { if side == .client { client = newValue } else { service = newValue } }
  }

  private func announce(_ side: ChannelSide, life: SideLife) {
    view.announce(side, life: life, generation: self[side].generation)
    ringSides()
  }

  private func ringSides() {
    if plan.client != nil { ring(VOS_PEER_CLIENT) }
    ring(VOS_PEER_SERVICE)
  }

  // MARK: Broken channels

  /// Who has declared the channel broken, or changed our own words; `nil` if nobody has.
  var isDeclaredBrokenBy: ChannelSide? {
    [ChannelSide.client, .service].first {
      guard self[$0].life == .alive else { return false }
      let generation = self[$0].generation
      return view.page(of: $0).standing == (.broken, generation)
        || view.life(of: $0) != .alive || view.generation(of: $0) != generation
    }
  }

  /// Whether the service says that it has let go although we count it among the living.
  var isLeftByService: Bool {
    service.life == .alive && view.hasLeft(.service, generation: service.generation)
  }

  /// Tells both sides that their lives in this channel have failed.
  func announceFailure() {
    for side in [ChannelSide.client, .service] where self[side].life == .alive {
      view.announce(side, life: .failed, generation: self[side].generation)
    }
    ringSides()
  }

  /// Those of the sides that have not let go of a channel that is broken. Nobody is behind a side
  /// whose domain does not live, and ourselves hold nothing.
  var holders: [ChannelSide] {
    [ChannelSide.client, .service].filter {
      self[$0].life == .alive && !($0 == .client && plan.client == nil)
        && !view.hasLeft($0, generation: self[$0].generation)
    }
  }

  /// Makes it new; those that are there begin another life.
  func renew() throws(GeometryError) {
    for side in [ChannelSide.client, .service] where self[side].life == .alive {
      self[side].generation &+= 1
    }
    let name = Array(plan.name.utf8)
    try view.renew(name: name.span, client: client, service: service, isZero: punch())
    if plan.client == nil { beClient() }
    ringSides()
  }

  /// Gives the memory of all that is made new back, which zeroes it; most of it was never touched.
  private func punch() -> Bool {
    let start = ChannelRegion.renewedFrom
    // SAFETY: within our mapping of the region, which is plain memory to those that have it mapped.
    return unsafe madvise(
      mapping.baseAddress + start, plan.geometry.regionBytes - start, MADV_REMOVE) == 0
  }

  private func burySlices() {
    for index in 0..<plan.geometry.sliceCount {
      var entry = view.sliceEntry(index)
      guard entry.state == .live else { continue }
      entry.state = .dead
      view.publish(entry, slice: index)
    }
  }

  /// Makes the page of `side` blank before a new life of it, so that the old life's word does not
  /// count for the new one. The life before must be gone.
  func forget(_ side: ChannelSide) {
    view.page(of: side).announce(.absent, generation: 0)
  }

  /// Calls counted by the client's processes, living and dead, and by its kernel, read from the
  /// slices' headers.
  func counters() -> (fast: UInt64, fallback: UInt64, kernel: UInt64) {
    let geometry = plan.geometry
    // Slice 0 is the kernel's own. Guests write these words: sums wrap, they do not trap.
    let own = counterWords(slice: 0, at: geometry)
    var sums = (fast: own[2], fallback: own[3], kernel: own[0])
    for index in 1..<max(1, geometry.sliceCount)
    where view.sliceEntry(index).state == .live {
      let words = counterWords(slice: index, at: geometry)
      sums.fast &+= words[0]
      sums.fallback &+= words[1]
    }
    return sums
  }

  /// The four words of line 2 of a slice's header.
  private func counterWords(slice: Int, at geometry: Geometry) -> [UInt64] {
    let offset = geometry.slicesOffset + slice * geometry.sliceStride + Self.countersOffset
    let bytes = mapping.copy(from: offset, count: 32) ?? [UInt8](repeating: 0, count: 32)
    return (0..<4).map { word in
      (0..<8).reduce(UInt64(0)) { $0 | UInt64(bytes[word * 8 + $1]) << UInt64(8 * $1) }
    }
  }

  /// Of vos_slice_header.fast_calls; fallback_calls follows.
  private static let countersOffset = 128
}
