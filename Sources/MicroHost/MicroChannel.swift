// SPDX-License-Identifier: Apache-2.0
import CVosABI
public import Channel
import Glibc
import LaunchPlan
import LinuxSystem

/// A channel between two micro guests, laid out and held by the host, as the supervisor would.
public final class MicroChannel: Sendable {
  /// The host's view of the region.
  public let region: ChannelRegion
  private let memory: OwnedDescriptor
  private let mapping: SharedMapping
  /// Whom each rings: peers `VOS_PEER_CLIENT` and `VOS_PEER_SERVICE`.
  private let clientEvent: EventDescriptor
  private let serviceEvent: EventDescriptor

  private static let pciSlot = 3
  private static let pageBytes = UInt64(VOS_PAGE_BYTES)

  /// A channel whose slices have `slotCount` slots (1...64) and an arena of `arenaBytes`.
  public init(
    slices: Int = 1, slotCount: Int = Geometry.maximumSlots, arenaBytes: Int = 64 << 10
  ) throws(MicroHostError) {
    let geometry: Geometry
    do throws(GeometryError) {
      geometry = try Geometry.layout(
        channel: 1, carries: VOS_CARRIES_SOCKETS, sliceCount: slices, slotCount: slotCount,
        arenaBytes: arenaBytes)
    } catch {
      throw .channel(error)
    }
    do throws(SystemCallError) {
      let fresh = try OwnedDescriptor.sharedMemory(
        name: "vos-micro", byteCount: geometry.regionBytes)
      mapping = try SharedMapping(fresh, byteCount: geometry.regionBytes)
      memory = fresh
      clientEvent = try EventDescriptor()
      serviceEvent = try EventDescriptor()
    } catch {
      throw .system(error)
    }
    let name = Array("micro".utf8)
    do throws(GeometryError) {
      // SAFETY: fresh zeroed memory of the geometry's size, mapped while `self` lives.
      region = try unsafe ChannelRegion(
        formatting: mapping.baseAddress, geometry: geometry, name: name.span)
    } catch {
      throw .channel(error)
    }
    region.announce(.client, life: .alive, generation: 1)
    region.announce(.service, life: .alive, generation: 1)
  }

  /// Where other processes of this user find the region's memory while `self` lives.
  public var path: String { "/proc/\(getpid())/fd/\(memory.rawValue)" }

  /// The plan of `side`'s function; `add` takes a descriptor along and tells its index.
  func plan(_ side: ChannelSide, add: (Int32) -> Int) -> LaunchPlan.Ivshmem {
    let isClient = side == .client
    let events = (clientEvent.descriptor.rawValue, serviceEvent.descriptor.rawValue)
    let own = add(isClient ? events.0 : events.1)
    let other = add(isClient ? events.1 : events.0)
    let page = Self.pageBytes
    let peersPage = UInt64(isClient ? VOS_SERVICE_PAGE_OFFSET : VOS_CLIENT_PAGE_OFFSET)
    return LaunchPlan.Ivshmem(
      slot: Self.pciSlot, region: add(memory.rawValue),
      regionBytes: UInt64(region.geometry.regionBytes), peer: UInt16(side.rawValue),
      vectors: [own],
      remotes: [.init(peer: UInt16(side.other.rawValue), vectors: [other])],
      readOnly: [.init(offset: 0, byteCount: page), .init(offset: peersPage, byteCount: page)])
  }

  /// A 64-bit word of the first slice's arena, at `offset`, a multiple of 8 within its first page.
  @unsafe
  private func word(_ offset: Int) -> UnsafeMutablePointer<UInt64> {
    precondition(offset >= 0 && offset & 7 == 0 && offset < Int(VOS_PAGE_BYTES))
    let start = region.geometry.slicesOffset + region.geometry.arenaOffset + offset
    // SAFETY: the arena is at least a page; the mapping lives as long as `self`.
    return unsafe (mapping.baseAddress + start).assumingMemoryBound(to: UInt64.self)
  }

  /// The word at `offset` of a benchmark's page.
  func load(_ offset: Int) -> UInt64 {
    // SAFETY: a word of the arena, accessed atomically.
    unsafe vos_load_acquire64(word(offset))
  }

  /// Writes a word of a benchmark's page, one that only the host writes.
  func store(_ offset: Int, _ value: UInt64) {
    // SAFETY: a word of the arena, accessed atomically.
    unsafe vos_store_release64(word(offset), value)
  }

  /// Ticks a millisecond: of the counter that a guest shows at `offset`, against the host's clock.
  func measureKilohertz(clockAt offset: Int) -> Double {
    let start = (load(offset), monotonicNanoseconds())
    usleep(300_000)
    let end = (load(offset), monotonicNanoseconds())
    return Double(end.0 &- start.0) / Double(end.1 - start.1) * 1_000_000
  }
}
