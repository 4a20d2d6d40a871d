// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

/// Finds /dev/vos/NAME and takes a slice of each channel that has calls for us.
enum Devices {
  private static let folder: StaticString = "/dev/vos/"
  private static let nameLimit = 64
  private static let readWrite: Int32 = 0o2
  private static let duplicateCloseOnExec: Int32 = 1030
  /// Programs that pick descriptor numbers pick low ones; ours go to where nobody looks.
  private static let lowestOwnDescriptor: UInt = 900
  private static let lowestSecondChoice: UInt = 200

  /// Looks at every name in /dev/vos for channels of one kind, VOS_CARRIES_*. Called by one thread
  /// at a time.
  static func take(carrying kind: UInt32) {
    // SAFETY: the name is NUL-terminated static text.
    let list = unsafe real().pointee.open64(
      folder.cString, readWriteNone | Linux.directory | Linux.closeOnExec, 0)
    guard list >= 0 else { return }
    unsafe withUnsafeTemporaryBytes { buffer in
      while true {
        let length = unsafe getdents64(list, buffer.baseAddress, buffer.count)
        guard length > 0 else { break }
        unsafe takeListed(UnsafeRawBufferPointer(rebasing: buffer[..<length]), kind)
      }
    }
    _ = unsafe real().pointee.close(list)
  }

  private static let readWriteNone: Int32 = 0

  private static func takeListed(_ listing: UnsafeRawBufferPointer, _ kind: UInt32) {
    var at = 0
    let nameOffset = 19  // of d_name in struct linux_dirent64
    while at &+ nameOffset < listing.count {
      // SAFETY: the kernel wrote whole records; each carries its length at byte 16.
      let record = unsafe Int(listing.loadUnaligned(fromByteOffset: at &+ 16, as: UInt16.self))
      guard record > nameOffset, at &+ record <= listing.count else { return }
      unsafe take(
        named: UnsafeRawBufferPointer(rebasing: listing[at &+ nameOffset..<at &+ record]), kind)
      at = at &+ record
    }
  }

  private static func take(named name: UnsafeRawBufferPointer, _ kind: UInt32) {
    guard let first = unsafe name.first, first != UInt8(ascii: "."),
      name.count <= nameLimit
    else { return }
    var path = InlineArray<80, UInt8>(repeating: 0)
    let prefix = folder.utf8CodeUnitCount
    // SAFETY: 9 bytes of prefix and at most 64 of name fit, and a zero byte stays at the end.
    for index in 0..<prefix { path[index] = unsafe folder.utf8Start[index] }
    for index in name.indices { path[prefix &+ index] = unsafe name[index] }
    let opened = unsafe path.span.withUnsafeBufferPointer { text in
      unsafe text.baseAddress.map {
        unsafe real().pointee.open64(
          UnsafeRawPointer($0).assumingMemoryBound(to: CChar.self),
          readWrite | Linux.closeOnExec, 0)
      } ?? -1
    }
    guard opened >= 0 else { return }
    takeSlice(of: raised(opened), kind)
  }

  /// Moves a descriptor of ours to a high number; the same number if none is free.
  static func raised(_ descriptor: Int32) -> Int32 {
    var moved = unsafe real().pointee.fcntl64(
      descriptor, duplicateCloseOnExec, lowestOwnDescriptor)
    if moved < 0 {
      moved = unsafe real().pointee.fcntl64(descriptor, duplicateCloseOnExec, lowestSecondChoice)
    }
    guard moved >= 0 else { return descriptor }
    _ = unsafe real().pointee.close(descriptor)
    return moved
  }

  /// Keeps `device` if it is the client's end of a channel of that kind.
  private static func takeSlice(of device: Int32, _ kind: UInt32) {
    var info = vos_ioc_info()
    // SAFETY: vos_abi.h gives both commands this structure to write.
    guard control(device, VOS_IOC_INFO, &info) == 0, info.role == VOS_PEER_CLIENT,
      info.carries & kind != 0, unsafe libvos_this().pointee.channel_count < LIBVOS_CHANNELS,
      control(device, VOS_IOC_TAKE_SLICE, &info) == 0, fits(info), map(info, device)
    else {
      _ = unsafe real().pointee.close(device)
      return
    }
  }

  private static func control(
    _ device: Int32, _ command: UInt32, _ info: inout vos_ioc_info
  ) -> Int32 {
    unsafe withUnsafeMutablePointer(to: &info) { place in
      unsafe real().pointee.ioctl(device, UInt(command), UInt(bitPattern: place))
    }
  }

  /// The kernel says where things lie; all of them must lie within the mapping.
  private static func fits(_ info: vos_ioc_info) -> Bool {
    let slots = UInt64(info.slots_offset) &+ UInt64(info.slot_count) &* 64
    let arena = UInt64(info.arena_offset) &+ UInt64(info.arena_bytes)
    return (1...64).contains(info.slot_count) && info.slice != 0
      && info.slots_offset >= UInt32(MemoryLayout<vos_slice_header>.size)
      && info.slots_offset % 64 == 0
      && slots <= info.map_bytes && arena <= info.map_bytes && piece(info) >= 64
  }

  private static func piece(_ info: vos_ioc_info) -> UInt32 {
    info.arena_bytes / info.slot_count & ~63
  }

  private static func map(_ info: vos_ioc_info, _ device: Int32) -> Bool {
    guard let base = unsafe mapped(device, 0, Int(info.map_bytes), writable: true),
      let service = unsafe mapped(
        device, Int(VOS_MAP_SERVICE_PAGE), Int(VOS_PAGE_BYTES), writable: false),
      let superblock = unsafe mapped(
        device, Int(VOS_MAP_SUPERBLOCK), Int(VOS_PAGE_BYTES), writable: false)
    else { return false }
    Clock.prepare()
    let index = unsafe libvos_this().pointee.channel_count
    // SAFETY: `takeSlice` checked that there is room; one thread runs this. All else is zero.
    let channel = unsafe libvos_channel_at(index)
    unsafe channel.pointee.base = base.assumingMemoryBound(to: UInt8.self)
    unsafe channel.pointee.superblock = UnsafePointer(
      superblock.assumingMemoryBound(to: vos_superblock.self))
    unsafe channel.pointee.service = UnsafePointer(
      service.assumingMemoryBound(to: vos_side_page.self))
    unsafe channel.pointee.slice = info.slice
    unsafe channel.pointee.slot_count = info.slot_count
    unsafe channel.pointee.slots_offset = info.slots_offset
    unsafe channel.pointee.arena_offset = info.arena_offset
    unsafe channel.pointee.piece_bytes = piece(info)
    unsafe channel.pointee.carries = info.carries
    unsafe libvos_device(Int32(index)).pointee = device &+ 1
    unsafe vos_store_release32(libvos_channel_count(), index &+ 1)
    return true
  }

  /// Shared memory of the device; never inherited by a child (the kernel sees to it too).
  private static func mapped(
    _ device: Int32, _ offset: Int, _ bytes: Int, writable: Bool
  ) -> UnsafeMutableRawPointer? {
    let address = unsafe real().pointee.mmap64(nil, bytes, writable ? 3 : 1, 1, device, offset)
    return unsafe UInt(bitPattern: address) == UInt.max ? nil : address
  }

  private static func withUnsafeTemporaryBytes(_ body: (UnsafeMutableRawBufferPointer) -> Void) {
    var buffer = InlineArray<256, UInt64>(repeating: 0)
    // SAFETY: plain bytes on the stack, used only within the call.
    unsafe withUnsafeMutableBytes(of: &buffer) { unsafe body($0) }
  }
}
