// SPDX-License-Identifier: Apache-2.0

// The service of the tests: two regions under /dev/vos, one thread that executes the calls of all
// slices on descriptors that the double passed. `service FOLDER` runs until it is killed.

import CDouble
import Glibc

let slices: UInt32 = 32
let slots: UInt32 = 16
let arena: UInt32 = 256 * 1024

struct Object {
  var descriptor: Int32
  var slice: UInt32
}
nonisolated(unsafe) var objects: [[Object]] = [[], []]
let objectsLock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
pthread_mutex_init(objectsLock, nil)
/// Served sequence of each slot, by channel, slice and slot.
var served = [[UInt32]](repeating: [UInt32](repeating: 0, count: Int(slices * slots)), count: 2)

func makeRegion(_ path: String, _ channel: UInt32, _ carries: UInt32) -> UnsafeMutablePointer<UInt8>
{
  let stride = 8192 + arena
  let bytes = 0x8000 + Int(slices * stride)
  let file = open(path, O_RDWR | O_CREAT | O_TRUNC, 0o666)
  guard file >= 0, ftruncate(file, bytes) == 0 else { fatalError("cannot make \(path)") }
  let base = mmap(nil, bytes, PROT_READ | PROT_WRITE, MAP_SHARED, file, 0)!
  var block = vos_superblock()
  block.magic = UInt64(VOS_MAGIC)
  block.abi_version = VOS_ABI_VERSION
  block.channel = channel
  block.region_bytes = UInt64(bytes)
  block.carries = carries
  block.slice_count = slices
  block.slice_table_offset = 0x3000
  block.event_ring_offset = 0x4000
  block.event_count = 64
  block.slot_count = slots
  block.slices_offset = 0x8000
  block.slice_stride = UInt64(stride)
  block.slots_offset = 4096
  block.arena_offset = 8192
  block.arena_bytes = arena
  block.client_life = VOS_LIFE_ALIVE
  block.service_life = VOS_LIFE_ALIVE
  block.service_generation = 1
  base.storeBytes(of: block, as: vos_superblock.self)
  var page = vos_side_page()
  page.state = VOS_SIDE_READY
  page.generation = 1
  (base + Int(VOS_SERVICE_PAGE_OFFSET)).storeBytes(of: page, as: vos_side_page.self)
  return base.assumingMemoryBound(to: UInt8.self)
}

func errno(_ result: Int) -> Int64 { result < 0 ? Int64(-Glibc.errno) : Int64(result) }

func sendMessage(_ descriptor: Int32, _ data: UnsafeMutableRawPointer) -> Int64 {
  var head = data.load(as: vos_message.self)
  let flags = Int32(bitPattern: head.flags) | Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)
  return withUnsafeMutablePointer(to: &head.name) { name in
    errno(
      sendto(
        descriptor, data + 144, Int(head.payload_length), flags,
        UnsafeMutableRawPointer(name).assumingMemoryBound(to: sockaddr.self), head.name_length))
  }
}

func receiveMessage(_ descriptor: Int32, _ data: UnsafeMutableRawPointer) -> Int64 {
  let asked = data.load(as: vos_message.self)
  var out = vos_message()
  var message = cdouble_message()
  cdouble_prepare(&message, data + 144, Int(asked.payload_length), -1)
  message.header.control_length = 0
  let result = withUnsafeMutablePointer(to: &out.name) { name in
    withUnsafeMutablePointer(to: &message) {
      $0.pointee.header.name = UnsafeMutableRawPointer(name)
      $0.pointee.header.name_length = 128
      return errno(
        cdouble_syscall(
          47, Int(descriptor), Int(bitPattern: cdouble_header($0)),
          Int(asked.flags) | 0x40, 0, 0, 0))
    }
  }
  out.flags = UInt32(bitPattern: message.header.flags)
  out.name_length = asked.name_length == 0 ? 0 : message.header.name_length
  out.payload_length = UInt32(max(result, 0))
  data.storeBytes(of: out, as: vos_message.self)
  return result
}

func execute(_ channel: Int, _ slice: UInt32, _ slot: vos_slot, _ data: UnsafeMutableRawPointer)
  -> Int64
{
  pthread_mutex_lock(objectsLock)
  let table = objects[channel]
  pthread_mutex_unlock(objectsLock)
  guard slot.object < UInt64(table.count), table[Int(slot.object)].slice == slice else {
    return Int64(-EBADF)
  }
  let descriptor = table[Int(slot.object)].descriptor
  let flags = Int32(truncatingIfNeeded: slot.argument.0)
  switch UInt32(slot.call) {
  case VOS_CALL_READ:
    return errno(recv(descriptor, data, Int(slot.data_capacity), flags | Int32(MSG_DONTWAIT)))
  case VOS_CALL_WRITE:
    return errno(
      send(
        descriptor, data, Int(slot.data_length),
        flags | Int32(MSG_DONTWAIT) | Int32(MSG_NOSIGNAL)))
  case VOS_CALL_SENDMSG: return sendMessage(descriptor, data)
  case VOS_CALL_RECVMSG: return receiveMessage(descriptor, data)
  case VOS_CALL_POLL:
    var one = pollfd(
      fd: descriptor, events: Int16(truncatingIfNeeded: slot.argument.0), revents: 0)
    return errno(Int(poll(&one, 1, 0))) < 0 ? -1 : Int64(UInt16(bitPattern: one.revents))
  case VOS_CALL_PREAD64:
    return errno(pread(descriptor, data, Int(slot.data_capacity), Int(slot.argument.0)))
  case VOS_CALL_PWRITE64:
    return errno(pwrite(descriptor, data, Int(slot.data_length), Int(slot.argument.0)))
  case VOS_CALL_FSYNC: return errno(Int(fsync(descriptor)))
  case VOS_CALL_FDATASYNC: return errno(Int(fdatasync(descriptor)))
  case VOS_CALL_FTRUNCATE: return errno(Int(ftruncate(descriptor, Int(slot.argument.0))))
  case VOS_CALL_FALLOCATE:
    return errno(
      cdouble_syscall(
        285, Int(descriptor), Int(slot.argument.0), Int(slot.argument.1), Int(slot.argument.2), 0,
        0))
  default: return Int64(-ENOSYS)
  }
}

/// A hostile service: what it does to a read at one of these offsets.
func scribbles(
  _ line: UnsafeMutablePointer<vos_slot>, _ header: UnsafeMutablePointer<vos_slice_header>,
  _ word: UnsafeMutablePointer<UInt32>, _ request: vos_slot
) -> Bool {
  guard request.call == UInt16(VOS_CALL_PREAD64) else { return false }
  switch request.argument.0 {
  case 700_001: vos_store_release32(word, 0xffff_ffff)
  case 700_002: vos_store_release32(word, vos_load_acquire32(word) &+ 0x100 | VOS_SLOT_DONE)
  case 700_003: header.pointee.slot_limit = 0
  case 700_004, 700_005, 700_006:
    if request.argument.0 == 700_006 { line.pointee.object &+= 1 }
    line.pointee.result =
      [Int64.min, Int64(request.data_capacity) + 1, 5][Int(request.argument.0 - 700_004)]
    _ = vos_exchange32(word, vos_load_acquire32(word) & ~0xff | VOS_SLOT_DONE)
  default: return false
  }
  return true
}

func scan(_ channel: Int, _ base: UnsafeMutablePointer<UInt8>) -> Int {
  var found = 0
  for slice in 1..<slices where cdouble_entry(base, slice).pointee.state == VOS_SLICE_LIVE {
    let header = UnsafeMutableRawPointer(cdouble_slice(base, slice)!).assumingMemoryBound(
      to: vos_slice_header.self)
    for slot in 0..<min(header.pointee.slot_limit, slots) {
      let line = cdouble_slot(base, slice, slot)!
      let word = UnsafeMutableRawPointer(line).assumingMemoryBound(to: UInt32.self)
      let state = vos_load_acquire32(word)
      let place = Int(slice * slots + slot)
      guard state & VOS_SLOT_PHASE_MASK == VOS_SLOT_SUBMITTED, served[channel][place] != state >> 8
      else { continue }
      served[channel][place] = state >> 8
      found += 1
      let request = line.pointee
      if scribbles(line, header, word, request) { continue }
      let call = Late(
        due: delay > 0 ? now() + delay : 0, channel: channel, base: base, slice: slice,
        line: line, request: request, state: state)
      if delay > 0 { late.append(call) } else { answer(call) }
      most = max(most, late.count)
    }
  }
  return found
}

/// VOS_DOUBLE_DELAY: milliseconds that every answer takes, however many are under way.
let delay = (getenv("VOS_DOUBLE_DELAY").flatMap { UInt64(String(cString: $0)) } ?? 0) * 1_000_000
struct Late {
  var due: UInt64
  var channel: Int
  var base: UnsafeMutablePointer<UInt8>
  var slice: UInt32
  var line: UnsafeMutablePointer<vos_slot>
  var request: vos_slot
  var state: UInt32
}
var late: [Late] = []
var most = 0

func now() -> UInt64 {
  var time = timespec()
  clock_gettime(CLOCK_MONOTONIC, &time)
  return UInt64(time.tv_sec) * 1_000_000_000 + UInt64(time.tv_nsec)
}

func answerLate() {
  while let first = late.first, first.due <= now() { answer(late.removeFirst()) }
}

func answer(_ call: Late) {
  let word = UnsafeMutableRawPointer(call.line).assumingMemoryBound(to: UInt32.self)
  let request = call.request
  let end = UInt64(request.data_offset) + UInt64(max(request.data_length, request.data_capacity))
  call.line.pointee.result =
    end > UInt64(arena)
    ? Int64(-EINVAL)
    : execute(
      call.channel, call.slice, request,
      cdouble_arena(call.base, call.slice)! + Int(request.data_offset))
  let old = vos_exchange32(word, call.state & ~0xff | VOS_SLOT_DONE)
  guard old & VOS_SLOT_WAITER != 0 else { return }
  _ = cdouble_syscall(202, Int(bitPattern: word), 1, 64, 0, 0, 0)
  // The slice's count of completions, which the double waits for on VOS_WAIT_ANY.
  let count = cdouble_completions(call.base, call.slice)!
  vos_store_release32(count, vos_load_acquire32(count) &+ 1)
  _ = cdouble_syscall(202, Int(bitPattern: count), 1, 64, 0, 0, 0)
}

/// Slices of processes that are gone become free; their objects go.
func reap(_ channel: Int, _ base: UnsafeMutablePointer<UInt8>) {
  for slice in 1..<slices {
    let entry = cdouble_entry(base, slice)!
    guard entry.pointee.state == VOS_SLICE_LIVE, kill(Int32(entry.pointee.pid), 0) != 0 else {
      continue
    }
    pthread_mutex_lock(objectsLock)
    for index in objects[channel].indices where objects[channel][index].slice == slice {
      close(objects[channel][index].descriptor)
      objects[channel][index].slice = 0
    }
    pthread_mutex_unlock(objectsLock)
    let header = UnsafeMutableRawPointer(cdouble_slice(base, slice)!).assumingMemoryBound(
      to: vos_slice_header.self)
    totals[channel].fast += header.pointee.fast_calls
    totals[channel].fallback += header.pointee.fallback_calls
    memset(header, 0, 8192 + Int(arena))
    for slot in 0..<slots { served[channel][Int(slice * slots + slot)] = 0 }
    vos_store_release32(cdouble_entry_state(entry), VOS_SLICE_FREE)
  }
}
var totals = [(fast: UInt64, fallback: UInt64)](repeating: (0, 0), count: 2)

/// Takes passed descriptors, one connection each.
func listen() {
  let listener = socket(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0)
  var address = sockaddr_un()
  address.sun_family = sa_family_t(AF_UNIX)
  let name = Array("vosdouble".utf8)
  withUnsafeMutableBytes(of: &address.sun_path) {
    $0.baseAddress!.advanced(by: 1).copyMemory(from: name, byteCount: 9)
  }
  let bound = withUnsafePointer(to: &address) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) { bind(listener, $0, 12) }
  }
  guard bound == 0, Glibc.listen(listener, 64) == 0 else { fatalError("a service runs already") }
  while true {
    let connection = accept(listener, nil, nil)
    guard connection >= 0 else { continue }
    var order = cdouble_attach()
    var message = cdouble_message()
    let length = withUnsafeMutablePointer(to: &order) { place in
      withUnsafeMutablePointer(to: &message) {
        cdouble_prepare($0, place, 12, -1)
        return cdouble_syscall(47, Int(connection), Int(bitPattern: cdouble_header($0)), 0, 0, 0, 0)
      }
    }
    var object: Int32 = -1
    if length == 12, message.control.fd >= 0 {
      pthread_mutex_lock(objectsLock)
      object = Int32(objects[Int(order.channel)].count)
      objects[Int(order.channel)].append(Object(descriptor: message.control.fd, slice: order.slice))
      pthread_mutex_unlock(objectsLock)
    }
    write(connection, &object, 4)
    close(connection)
  }
}

mkdir("/dev/vos", 0o755)
let bases = [
  makeRegion("/dev/vos/network", 1, VOS_CARRIES_SOCKETS),
  makeRegion("/dev/vos/storage", 2, VOS_CARRIES_FILES),
]
var thread = pthread_t()
pthread_create(
  &thread, nil,
  { _ in
    listen(); return nil
  }, nil)
signal(SIGTERM) { _ in stopping = 1 }
nonisolated(unsafe) var stopping: Int32 = 0
print("service ready")
fflush(stdout)
/// VOS_DOUBLE_IDLE: looks without work before the service sleeps.
let patience = getenv("VOS_DOUBLE_IDLE").flatMap { Int(String(cString: $0)) } ?? 2000
var idle = 0
var looks = 0
while stopping == 0 {
  looks += 1
  answerLate()
  if looks % 64 == 0 || idle > patience { for channel in 0..<2 { reap(channel, bases[channel]) } }
  if scan(0, bases[0]) + scan(1, bases[1]) > 0 { idle = 0; continue }
  idle += 1
  guard idle > patience, late.isEmpty else { sched_yield(); continue }
  for base in bases {
    for slice in 1..<slices {
      (cdouble_slice(base, slice)! + 64).withMemoryRebound(to: UInt32.self, capacity: 1) {
        vos_store_release32($0, 1)
      }
    }
  }
  vos_full_fence()
  if scan(0, bases[0]) + scan(1, bases[1]) == 0 {
    var time = timespec(tv_sec: 0, tv_nsec: 1_000_000)
    nanosleep(&time, nil)
  }
  for base in bases {
    for slice in 1..<slices {
      (cdouble_slice(base, slice)! + 64).withMemoryRebound(to: UInt32.self, capacity: 1) {
        vos_store_release32($0, 0)
      }
    }
  }
}
for channel in 0..<2 { reap(channel, bases[channel]) }
print("sockets fast \(totals[0].fast) fallback \(totals[0].fallback)")
if most > 0 { print("most at once \(most)") }
print("files fast \(totals[1].fast) fallback \(totals[1].fallback)")
unlink("/dev/vos/network")
unlink("/dev/vos/storage")
rmdir("/dev/vos")
