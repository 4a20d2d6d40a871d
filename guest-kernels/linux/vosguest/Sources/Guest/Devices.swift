// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Channel
import Glibc

/// The service's end of a channel, as the kernel module or a test offers it.
protocol ServiceDevice: AnyObject, Sendable {
  var region: ChannelRegion { get }
  /// Rings peer `VOS_PEER_*`.
  func ring(_ peer: UInt32)
  /// Sleeps until somebody rings, at most so long. False if the device is gone.
  func wait(milliseconds: Int32) -> Bool
}

/// A client's end of a channel: one slice.
protocol ClientDevice: AnyObject, Sendable {
  /// Start of the slice, mapped while the device lives.
  var slice: UnsafeMutableRawPointer { get }
  var shape: SliceShape { get }
  var sliceNumber: Int { get }
  func ring()
  /// Sleeps until the slot leaves `state`, at most so long. False if the service is gone.
  func wait(slot: Int, state: UInt32, milliseconds: Int32) -> Bool
  /// The life of the service that serves now; `nil` while there is none.
  var serviceLife: UInt32? { get }
}

/// A mapping that ends with its last holder.
@safe
final class Mapping: @unchecked Sendable {
  // @unchecked: the address and size never change.
  let base: UnsafeMutableRawPointer
  let byteCount: Int

  init?(_ descriptor: Int32, byteCount: Int, offset: Int = 0, writable: Bool = true) {
    let protection = writable ? PROT_READ | PROT_WRITE : PROT_READ
    // SAFETY: a new mapping, at an address of the kernel's choice; nothing of ours is touched.
    let base = unsafe mmap(nil, byteCount, protection, MAP_SHARED, descriptor, offset)
    guard let base = unsafe base, unsafe base != MAP_FAILED else { return nil }
    unsafe self.base = unsafe base
    self.byteCount = byteCount
  }

  // SAFETY: mapped by `init` with this length; holders of addresses hold this object.
  deinit { unsafe munmap(base, byteCount) }
}

/// /dev/vos/NAME of the service's side.
final class ModuleService: ServiceDevice {
  private let descriptor: Descriptor
  private let mapping: Mapping
  let region: ChannelRegion
  let info: vos_ioc_info

  /// Opens it; says why not.
  static func open(_ name: String) -> (ModuleService?, String) {
    guard case .success(let descriptor) = Descriptor.open("/dev/vos/" + name, O_RDWR) else {
      return (nil, "cannot open /dev/vos/\(name)")
    }
    guard let info = information(descriptor, VOS_IOC_INFO), info.role == VOS_PEER_SERVICE,
      let mapping = Mapping(descriptor.number, byteCount: Int(info.map_bytes))
    else { return (nil, "/dev/vos/\(name) is not a service's") }
    do throws(GeometryError) {
      // SAFETY: the mapping has so many bytes, and the device keeps it as long as the region.
      let region = try unsafe ChannelRegion(mappedAt: mapping.base, byteCount: mapping.byteCount)
      return (ModuleService(descriptor, mapping, region, info), "")
    } catch {
      return (nil, "/dev/vos/\(name): its superblock is not valid: \(error)")
    }
  }

  private init(
    _ descriptor: Descriptor, _ mapping: Mapping, _ region: ChannelRegion, _ info: vos_ioc_info
  ) {
    self.descriptor = descriptor
    self.mapping = mapping
    self.region = region
    self.info = info
  }

  func ring(_ peer: UInt32) {
    kernel(Int(SYS_ioctl), Int(descriptor.number), Int(VOS_IOC_DOORBELL), Int(peer))
  }

  func wait(milliseconds: Int32) -> Bool {
    var wait = vos_ioc_wait(slot: 0, state: 0, timeout_ms: milliseconds, reserved0: 0)
    // SAFETY: the command reads one `vos_ioc_wait`, a local.
    let result = unsafe kernel(
      Int(SYS_ioctl), Int(descriptor.number), Int(VOS_IOC_WAIT), address(&wait))
    return result >= 0 || result == Failure.interrupted || result == Failure.timedOut
  }
}

func information(_ descriptor: Descriptor, _ request: UInt32) -> vos_ioc_info? {
  var info = vos_ioc_info()
  // SAFETY: both commands that are asked here fill one `vos_ioc_info`, a local.
  let result = unsafe kernel(Int(SYS_ioctl), Int(descriptor.number), Int(request), address(&info))
  return result < 0 ? nil : info
}

/// /dev/vos/NAME of the client's side, with a slice of its own.
final class ModuleClient: ClientDevice {
  private let descriptor: Descriptor
  private let mapping: Mapping
  private let servicePage: Mapping
  private let superblock: Mapping
  let shape: SliceShape
  let sliceNumber: Int

  // SAFETY: mapped as long as this object lives.
  var slice: UnsafeMutableRawPointer { unsafe mapping.base }

  /// Opens it and takes a slice; says why not.
  static func open(_ name: String) -> (ModuleClient?, String) {
    guard case .success(let descriptor) = Descriptor.open("/dev/vos/" + name, O_RDWR) else {
      return (nil, "cannot open /dev/vos/\(name)")
    }
    guard let info = information(descriptor, VOS_IOC_TAKE_SLICE) else {
      return (nil, "/dev/vos/\(name) has no slice for us")
    }
    guard let client = ModuleClient(descriptor, info) else {
      return (nil, "/dev/vos/\(name) cannot be mapped")
    }
    return (client, "")
  }

  private init?(_ descriptor: Descriptor, _ info: vos_ioc_info) {
    let shape = try? SliceShape(
      slotCount: info.slot_count, slotsOffset: info.slots_offset, arenaOffset: info.arena_offset,
      arenaBytes: info.arena_bytes, mapBytes: Int(info.map_bytes))
    let page = Int(VOS_PAGE_BYTES)
    guard let shape,
      let mapping = Mapping(descriptor.number, byteCount: Int(info.map_bytes)),
      let servicePage = Mapping(
        descriptor.number, byteCount: page, offset: Int(VOS_MAP_SERVICE_PAGE), writable: false),
      let superblock = Mapping(
        descriptor.number, byteCount: page, offset: Int(VOS_MAP_SUPERBLOCK), writable: false)
    else { return nil }
    self.descriptor = descriptor
    self.mapping = mapping
    self.servicePage = servicePage
    self.superblock = superblock
    self.shape = shape
    sliceNumber = Int(info.slice)
  }

  func ring() {
    kernel(Int(SYS_ioctl), Int(descriptor.number), Int(VOS_IOC_DOORBELL), Int(VOS_PEER_SERVICE))
  }

  func wait(slot: Int, state: UInt32, milliseconds: Int32) -> Bool {
    var wait = vos_ioc_wait(
      slot: UInt32(slot), state: state, timeout_ms: milliseconds, reserved0: 0)
    // SAFETY: the command reads one `vos_ioc_wait`, a local.
    let result = unsafe kernel(
      Int(SYS_ioctl), Int(descriptor.number), Int(VOS_IOC_WAIT), address(&wait))
    return result >= 0 || result == Failure.interrupted || result == Failure.timedOut
  }

  var serviceLife: UInt32? {
    // SAFETY: a page is mapped; the words lie in `vos_superblock` at 92 (service_life) and 100
    // (service_generation), and the other page begins with a side page.
    let block = unsafe superblock.base
    let life = unsafe vos_load_acquire32((block + 92).assumingMemoryBound(to: UInt32.self))
    let generation = unsafe vos_load_acquire32((block + 100).assumingMemoryBound(to: UInt32.self))
    let page = unsafe SidePage(at: servicePage.base)
    guard life == VOS_LIFE_ALIVE, page.standing == (.ready, generation) else { return nil }
    return generation
  }
}

/// A channel in memory of this machine, both ends in one process: for tests without the module.
final class MemoryChannel: @unchecked Sendable {
  // @unchecked: the mapping and the descriptors never change.
  private let mapping: Mapping
  private let bell: Descriptor
  let region: ChannelRegion

  init?(
    carries: UInt32, slices: Int = 4, slots: Int = 16, arenaBytes: Int = 4 << 20
  ) {
    // SAFETY: the name is static text; the mapping is as long as the geometry says and lives as
    // long as the channel.
    guard
      let geometry = try? Geometry.layout(
        channel: 1, carries: carries, sliceCount: slices, slotCount: slots, arenaBytes: arenaBytes),
      let memory = unsafe "channel".withCString({
        unsafe Descriptor(kernel(Int(SYS_memfd_create), address($0), 1))
      }), ftruncate(memory.number, geometry.regionBytes) == 0,
      let mapping = Mapping(memory.number, byteCount: geometry.regionBytes),
      let region = try? unsafe ChannelRegion(
        formatting: mapping.base, geometry: geometry, name: Array("memory".utf8).span),
      let bell = Descriptor(kernel(Int(SYS_eventfd2), 0, Int(O_NONBLOCK | O_CLOEXEC)))
    else { return nil }
    self.mapping = mapping
    self.region = region
    self.bell = bell
    region.announce(.client, life: .alive, generation: 1)
    region.announce(.service, life: .alive, generation: 1)
  }

  /// Hands slice `index` to a process, by default this one.
  func giveOut(
    _ index: Int, generation: UInt32 = 1, pid: UInt32 = UInt32(getpid()), uid: UInt32 = 0
  ) {
    region.publish(
      SliceEntry(state: .live, generation: generation, pid: pid, uid: uid), slice: index)
    ringService()
  }

  func ringService() {
    var one: UInt64 = 1
    // SAFETY: the kernel reads the 8 bytes of a local.
    _ = unsafe Glibc.write(bell.number, &one, 8)
  }

  final class Service: ServiceDevice {
    let channel: MemoryChannel
    var region: ChannelRegion { channel.region }
    init(_ channel: MemoryChannel) { self.channel = channel }
    func ring(_ peer: UInt32) {}

    func wait(milliseconds: Int32) -> Bool {
      var interest = pollfd(fd: channel.bell.number, events: Int16(POLLIN), revents: 0)
      // SAFETY: one `pollfd` and 8 bytes of count, both locals.
      if unsafe poll(&interest, 1, milliseconds) == 1 {
        var count: UInt64 = 0
        _ = unsafe read(channel.bell.number, &count, 8)
      }
      return true
    }
  }

  final class Client: ClientDevice {
    let channel: MemoryChannel
    let sliceNumber: Int
    var shape: SliceShape { SliceShape(channel.region.geometry) }
    var slice: UnsafeMutableRawPointer {
      let geometry = channel.region.geometry
      // SAFETY: the slice is within the mapping: its number came from a test, below the slice
      // count.
      return unsafe channel.mapping.base + geometry.slicesOffset + sliceNumber
        * geometry.sliceStride
    }

    init(_ channel: MemoryChannel, slice: Int) {
      self.channel = channel
      sliceNumber = slice
    }

    func ring() { channel.ringService() }

    /// Looks every now and then: there is no kernel between the two to wake anybody.
    func wait(slot: Int, state: UInt32, milliseconds: Int32) -> Bool {
      // SAFETY: a slot's first word is its state; the slot number came from `SliceClient`, below
      // the slot count.
      let word = unsafe (slice + shape.slotsOffset + slot * 64).assumingMemoryBound(to: UInt32.self)
      var left = Int(milliseconds) * 10
      while unsafe vos_load_acquire32(word) == state, left > 0, serviceLife != nil {
        usleep(100)
        left -= 1
      }
      return serviceLife != nil
    }

    var serviceLife: UInt32? {
      let page = channel.region.page(of: .service)
      let generation = channel.region.generation(of: .service)
      guard channel.region.life(of: .service) == .alive, page.standing == (.ready, generation)
      else { return nil }
      return generation
    }
  }
}
