// SPDX-License-Identifier: Apache-2.0

// A stand-in for vos.ko, preloaded behind libvos, or (VOSLOAD) linked into vos-load: it answers ioctl and mmap on the files in
// /dev/vos, which hold a region each, and passes attached descriptors to the test service.
// Everything else goes to the kernel by number. Called from inside libvos, it must not come back
// into it: hence no libc but syscall.

internal import CDouble

nonisolated(unsafe) private var regions:
  (UnsafeMutablePointer<UInt8>?, UnsafeMutablePointer<UInt8>?)
nonisolated(unsafe) private var regionInodes: (UInt, UInt) = (0, 0)

private func call(
  _ number: Int, _ a: Int, _ b: Int = 0, _ c: Int = 0, _ d: Int = 0, _ e: Int = 0,
  _ f: Int = 0
) -> Int { cdouble_syscall(number, a, b, c, d, e, f) }

/// The region behind a device descriptor, mapped whole.
private func region(_ descriptor: Int32) -> (base: UnsafeMutablePointer<UInt8>, inode: UInt)? {
  var status = InlineArray<18, UInt>(repeating: 0)
  let ok = unsafe withUnsafeMutableBytes(of: &status) {
    unsafe call(5, Int(descriptor), Int(bitPattern: $0.baseAddress))
  }
  guard ok == 0, status[6] > 0 else { return nil }
  let inode = status[1]
  if unsafe regionInodes.0 == inode, let base = unsafe regions.0 { return unsafe (base, inode) }
  if unsafe regionInodes.1 == inode, let base = unsafe regions.1 { return unsafe (base, inode) }
  let address = call(9, 0, Int(status[6]), 3, 1, Int(descriptor), 0)
  guard address > 0, let base = unsafe UnsafeMutablePointer<UInt8>(bitPattern: address),
    unsafe UnsafeRawPointer(base).load(as: UInt64.self) == VOS_MAGIC
  else { return nil }
  if unsafe regionInodes.0 == 0 {
    unsafe regionInodes.0 = inode; unsafe regions.0 = base
  } else {
    unsafe regionInodes.1 = inode
    unsafe regions.1 = base
  }
  return unsafe (base, inode)
}

private func superblock(_ base: UnsafeMutablePointer<UInt8>) -> vos_superblock {
  unsafe UnsafeRawPointer(base).load(as: vos_superblock.self)
}

/// The slice that this process holds, 0 if none.
private func ownSlice(_ base: UnsafeMutablePointer<UInt8>) -> UInt32 {
  let pid = UInt32(call(39, 0))
  for slice in unsafe 1..<superblock(base).slice_count {
    let entry = unsafe cdouble_entry(base, slice)!
    if unsafe entry.pointee.state == VOS_SLICE_LIVE && entry.pointee.pid == pid { return slice }
  }
  return 0
}

private func info(_ base: UnsafeMutablePointer<UInt8>, _ place: UInt) -> Int32 {
  let block = unsafe superblock(base)
  unsafe UnsafeMutablePointer<vos_ioc_info>(bitPattern: place)!.pointee = vos_ioc_info(
    role: VOS_PEER_CLIENT, slice: ownSlice(base), slot_count: block.slot_count,
    slots_offset: block.slots_offset, arena_offset: block.arena_offset,
    arena_bytes: block.arena_bytes, map_bytes: block.slice_stride, carries: block.carries,
    generation: 1)
  return 0
}

private func takeSlice(_ base: UnsafeMutablePointer<UInt8>, _ place: UInt) -> Int32 {
  for slice in unsafe 1..<superblock(base).slice_count {
    let entry = unsafe cdouble_entry(base, slice)!
    // DEAD marks the entry as being filled in.
    guard
      unsafe vos_compare_exchange32(
        cdouble_entry_state(entry), VOS_SLICE_FREE, VOS_SLICE_DEAD) != 0
    else { continue }
    unsafe entry.pointee.pid = UInt32(call(39, 0))
    unsafe entry.pointee.generation &+= 1
    unsafe vos_store_release32(cdouble_entry_state(entry), VOS_SLICE_LIVE)
    return unsafe info(base, place)
  }
  return -1
}

private func wait(_ base: UnsafeMutablePointer<UInt8>, _ place: UInt) -> Int32 {
  let request = unsafe UnsafePointer<vos_ioc_wait>(bitPattern: place)!.pointee
  if request.slot == VOS_WAIT_ANY { return unsafe waitForAny(base, request) }
  let slot = unsafe cdouble_slot(base, ownSlice(base), request.slot)!
  var timeout = (0, 100_000_000)  // seconds, nanoseconds
  let result = unsafe withUnsafePointer(to: &timeout) {
    unsafe call(202, Int(bitPattern: slot), 0, Int(request.state), Int(bitPattern: $0))
  }
  return result == 0 ? 0 : -1
}

private func waitForAny(_ base: UnsafeMutablePointer<UInt8>, _ request: vos_ioc_wait) -> Int32 {
  let word = unsafe cdouble_completions(base, ownSlice(base))!
  let mask: UInt32 = 0x7fff_ffff
  let now = unsafe vos_load_acquire32(word)
  if now & mask == request.state {
    var timeout = (0, Int(min(request.timeout_ms, 500)) * 1_000_000)
    let result = unsafe withUnsafePointer(to: &timeout) {
      unsafe call(202, Int(bitPattern: word), 0, Int(now), Int(bitPattern: $0))
    }
    // errno is the futex's: ETIMEDOUT, EINTR or EAGAIN.
    if result != 0 { return -1 }
  }
  return unsafe Int32(vos_load_acquire32(word) & mask)
}

private func ring(_ base: UnsafeMutablePointer<UInt8>) -> Int32 {
  _ = unsafe call(202, Int(bitPattern: base + Int(VOS_CLIENT_PAGE_OFFSET)), 1, 1)
  return 0
}

/// Passes the descriptor to the service; its number for the object, or -1.
private func attach(_ descriptor: Int32, _ slice: UInt32) -> Int32 {
  var domain: Int32 = 0
  var length: UInt32 = 4
  let isSocket =
    unsafe call(
      55, Int(descriptor), 1, 39,
      Int(bitPattern: withUnsafeMutablePointer(to: &domain) { unsafe $0 }),
      Int(bitPattern: withUnsafeMutablePointer(to: &length) { unsafe $0 })) == 0
  if isSocket ? domain != 2 && domain != 10 : !isRegular(descriptor) { return -1 }
  // An abstract UNIX address: family 1, a zero byte, "vosdouble".
  let address: InlineArray<12, UInt8> = [1, 0, 0, 118, 111, 115, 100, 111, 117, 98, 108, 101]
  let connection = call(41, 1, 1 | 0o2000000, 0)
  defer { _ = call(3, connection) }
  var order = cdouble_attach(channel: isSocket ? 0 : 1, slice: slice, file: isSocket ? 0 : 1)
  var message = cdouble_message()
  var object: Int32 = -1
  return unsafe withUnsafeBytes(of: address) { name in
    guard unsafe call(42, connection, Int(bitPattern: name.baseAddress), 12) == 0 else { return -1 }
    return unsafe withUnsafeMutablePointer(to: &order) { place in
      unsafe withUnsafeMutablePointer(to: &message) { message in
        unsafe cdouble_prepare(message, place, 12, descriptor)
        _ = unsafe call(46, connection, Int(bitPattern: cdouble_header(message)))
        _ = unsafe withUnsafeMutablePointer(to: &object) {
          unsafe call(0, connection, Int(bitPattern: $0), 4)
        }
        return object
      }
    }
  }
}

/// Every regular file plays a file of the mount: libvos asks for those under VOS_MOUNTS only.
private func isRegular(_ descriptor: Int32) -> Bool {
  var status = InlineArray<18, UInt>(repeating: 0)
  let ok = unsafe withUnsafeMutableBytes(of: &status) {
    unsafe call(5, Int(descriptor), Int(bitPattern: $0.baseAddress))
  }
  return ok == 0 && UInt32(truncatingIfNeeded: status[3]) & 0o170000 == 0o100000
}

/// Whether a process that begins to watch files says so, as vos.ko's probe does: to this process.
nonisolated(unsafe) private var isWatched = false

@c(inotify_add_watch)
public func inotifyAddWatch(_ notes: Int32, _ path: UInt, _ events: UInt32) -> Int32 {
  let result = call(254, Int(notes), Int(bitPattern: path), Int(events))
  unsafe isWatched = true
  for base in [unsafe regions.0, unsafe regions.1] {
    guard let base = unsafe base else { continue }
    unsafe cdouble_watch_count(base, ownSlice(base)).pointee &+= 1
  }
  return Int32(result)
}

#if VOSLOAD
  @c(vosload_ioctl)
#else
  @c(ioctl)
#endif
public func ioctl(_ descriptor: Int32, _ command: UInt, _ argument: UInt) -> Int32 {
  switch UInt32(truncatingIfNeeded: command) {
  case VOS_IOC_ATTACH: return attach(descriptor, UInt32(argument))
  case VOS_IOC_DETACH: return 0
  case VOS_IOC_WATCHED: return unsafe isWatched ? 1 : 0
  case VOS_IOC_INFO, VOS_IOC_TAKE_SLICE, VOS_IOC_WAIT, VOS_IOC_DOORBELL:
    guard let (base, _) = unsafe region(descriptor) else { return -1 }
    switch UInt32(truncatingIfNeeded: command) {
    case VOS_IOC_INFO: return unsafe info(base, argument)
    case VOS_IOC_TAKE_SLICE: return unsafe takeSlice(base, argument)
    case VOS_IOC_WAIT: return unsafe wait(base, argument)
    default: return unsafe ring(base)
    }
  default:
    return Int32(call(16, Int(descriptor), Int(bitPattern: command), Int(bitPattern: argument)))
  }
}

#if VOSLOAD
  @c(vosload_mmap)
#else
  @c(mmap64)
#endif
public func mmap64(
  _ hint: UInt, _ length: Int, _ protection: Int32, _ flags: Int32, _ descriptor: Int32,
  _ offset: Int
) -> Int {
  var place = offset
  var ours = false
  if flags & 1 != 0, descriptor > 2, length < 1 << 30,
    let (base, _) = unsafe deviceRegion(descriptor)
  {
    ours = true
    switch UInt32(truncatingIfNeeded: offset) {
    case 0: place = unsafe cdouble_slice(base, ownSlice(base))! - base
    case VOS_MAP_SERVICE_PAGE: place = Int(VOS_SERVICE_PAGE_OFFSET)
    default: place = 0
    }
  }
  let address = call(
    9, Int(bitPattern: hint), length, Int(protection), Int(flags), Int(descriptor), place)
  if ours { _ = call(28, address, length, 10) }  // MADV_DONTFORK, as vos.ko's VM_DONTCOPY
  return address
}

/// Only what an ioctl has already shown to be a device.
private func deviceRegion(_ descriptor: Int32) -> (base: UnsafeMutablePointer<UInt8>, inode: UInt)?
{
  guard unsafe regionInodes.0 != 0 else { return nil }
  var status = InlineArray<18, UInt>(repeating: 0)
  _ = unsafe withUnsafeMutableBytes(of: &status) {
    unsafe call(5, Int(descriptor), Int(bitPattern: $0.baseAddress))
  }
  guard status[1] == (unsafe regionInodes.0) || status[1] == (unsafe regionInodes.1) else {
    return nil
  }
  return unsafe region(descriptor)
}
