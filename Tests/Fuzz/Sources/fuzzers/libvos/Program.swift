// SPDX-License-Identifier: Apache-2.0
import CLibvos
import CLibvosFuzz
import FuzzKit

/// The program: what it has open, and its calls.
struct Program {
  private var descriptors: [Int32] = []

  mutating func run() {
    // One of each kind, so that every input has something to do.
    for kind in 0..<3 { open(kind) }
    while !steps.isEmpty { step() }
    for descriptor in descriptors { _ = call(descriptor, most: 0) { Int(libvos_call_close($0)) } }
  }

  private mutating func step() {
    switch steps.below(32) {
    case 0: open(steps.below(6))
    case 1: close()
    case 2: libvos_fuzz_set_waiter(Int32(steps.below(2)))
    case 3: share()
    case 4...8: readOne()
    case 9...13: writeOne()
    case 14...16: readVectors()
    case 17...19: writeVectors()
    case 20, 21: receiveFrom()
    case 22: sendTo()
    case 23, 24: receiveMany()
    case 25: sendMany()
    case 26: makeDurable()
    case 27: seek()
    case 28, 29: poll()
    case 30: select()
    default: _ = act(false)
    }
    libvos_fuzz_take_back()
  }

  // Descriptors, and calls without data.

  private func descriptor() -> Int32 {
    descriptors.isEmpty ? Int32(steps.below(16)) : descriptors[steps.below(descriptors.count)]
  }

  private func call(_ descriptor: Int32, most: Int, _ body: (Int32) -> Int) -> Int {
    libvos_fuzz_begin(descriptor, nil, 0, 0, 0, -2)
    let result = body(descriptor)
    libvos_fuzz_end(result, most)
    return result
  }

  private mutating func open(_ kind: Int) {
    let descriptor =
      switch kind {
      case 0: libvos_call_socket(2, 1, 0)
      case 1: libvos_call_socket(10, 2, 0)
      case 2, 3: libvos_call_open64("/storage/file", 2, 0)
      case 4: libvos_call_socket(2, 1 | 0o4000, 0)
      default: libvos_call_open64("/elsewhere", 2, 0)
      }
    if descriptor >= 0 { descriptors.append(descriptor) }
  }

  private mutating func close() {
    let closed = descriptor()
    _ = call(closed, most: 0) { Int(libvos_call_close($0)) }
    descriptors.removeAll { $0 == closed }
  }

  /// Copies, and what else makes files and sockets the kernel's; also over what is libvos's own.
  private mutating func share() {
    let (descriptor, number) = (descriptor(), Int32(steps.below(4) == 3 ? 900 : steps.below(16)))
    let turn = steps.below(6)
    let most = turn < 3 ? 1023 : 0
    let copy = call(descriptor, most: most) {
      switch turn {
      case 0: return Int(libvos_call_dup($0))
      case 1: return Int(libvos_call_dup2($0, number))
      case 2: return Int(libvos_call_fcntl64($0, 0, 3))
      case 3: return Int(libvos_call_fcntl64($0, 4, [0, 0o4000, 0o2000][steps.below(3)]))
      case 4: return Int(libvos_call_ioctl($0, 0x541b, 0))
      default:
        var event = libvos_epoll_event(events: UInt32(steps.below(2)) << 31 | 1, data: 0)
        return Int(libvos_call_epoll_ctl(number, 1, $0, &event))
      }
    }
    if turn < 3, copy >= 0, !descriptors.contains(Int32(copy)) { descriptors.append(Int32(copy)) }
  }

  private func makeDurable() {
    let (descriptor, kind) = (descriptor(), steps.below(4))
    let (size, length) = (offset(), offset())
    _ = call(descriptor, most: 0) {
      switch kind {
      case 0: Int(libvos_call_fsync($0))
      case 1: Int(libvos_call_fdatasync($0))
      case 2: Int(libvos_call_ftruncate64($0, size))
      default: Int(libvos_call_fallocate64($0, Int32(steps.below(40)), size, length))
      }
    }
  }

  private func seek() {
    let (offset, whence) = (offset(), Int32(steps.below(4)))
    _ = call(descriptor(), most: Int.max) { libvos_call_lseek64($0, offset, whence) }
  }

  // One buffer.

  private func size() -> Int {
    switch steps.below(6) {
    case 0: steps.below(20)
    case 1: 64 * steps.below(12)
    case 2: 64 * steps.below(12) + 1
    case 3: steps.below(5000)
    default: 1 + steps.below(200)
    }
  }

  /// Mostly one that a file may have. -1 is none that a caller gives, but for a vector's.
  private func offset() -> Int {
    steps.below(4) == 0 ? Int(truncatingIfNeeded: steps.interesting()) : steps.below(65536)
  }

  private static let known: [Int32] = [0, 0, 0, 0x40, 0x2, 0x4000, 0x8000, 0x1]
  private func flags() -> Int32 { Self.known[steps.below(Self.known.count)] }

  /// At times none, or of a length that nobody has.
  private func vector(_ fill: UInt8) -> libvos_vector {
    let size = size()
    switch steps.below(40) {
    case 39: return libvos_vector(base: nil, length: size)
    case 38: return libvos_vector(base: libvos_fuzz_lend(size, fill), length: 0x7fff_f001 + size)
    default: return libvos_vector(base: libvos_fuzz_lend(size, fill), length: size)
    }
  }

  /// - Parameter offset: -1: the descriptor's own; -2: none.
  private func one(
    writes: Bool, at offset: Int, _ body: (Int32, UnsafeMutableRawPointer?, Int) -> Int
  ) {
    let descriptor = descriptor()
    var vector = vector(writes ? 0xcc : 0x77)
    withUnsafePointer(to: &vector) {
      libvos_fuzz_begin(descriptor, $0, 1, writes ? 1 : 0, 1, Int64(offset))
      let (base, length) = ($0.pointee.base, $0.pointee.length)
      libvos_fuzz_end(body(descriptor, base, length), length)
    }
  }

  private func readOne() {
    let (flags, place) = (flags(), max(0, offset()))
    switch steps.below(4) {
    case 0: one(writes: true, at: -1) { libvos_call_read($0, $1, $2) }
    case 1: one(writes: true, at: place) { libvos_call_pread64($0, $1, $2, place) }
    case 2: one(writes: true, at: -1) { libvos_call___read_nocancel($0, $1, $2) }
    default: one(writes: true, at: -1) { libvos_call_recv($0, $1, $2, flags) }
    }
  }

  private func writeOne() {
    let (flags, place) = (flags(), max(0, offset()))
    switch steps.below(4) {
    case 0: one(writes: false, at: -1) { libvos_call_write($0, $1, $2) }
    case 1: one(writes: false, at: place) { libvos_call_pwrite64($0, $1, $2, place) }
    case 2: one(writes: false, at: -1) { libvos_call___write_nocancel($0, $1, $2) }
    default: one(writes: false, at: -1) { libvos_call_send($0, $1, $2, flags) }
    }
  }

  // Vectors.

  private func vectors(_ fill: UInt8, _ most: Int = 5) -> [libvos_vector] {
    (0..<steps.below(most + 1)).map { _ in vector(fill) }
  }

  private func sum(_ vectors: [libvos_vector]) -> Int {
    vectors.reduce(0) { $0 + Int($1.length) }
  }

  private func several(
    writes: Bool, at offset: Int, _ body: (Int32, UnsafePointer<libvos_vector>?, Int32) -> Int
  ) {
    let descriptor = descriptor()
    let vectors = vectors(writes ? 0xcc : 0x77)
    vectors.withUnsafeBufferPointer {
      libvos_fuzz_begin(descriptor, $0.baseAddress, $0.count, writes ? 1 : 0, 1, Int64(offset))
      libvos_fuzz_end(body(descriptor, $0.baseAddress, Int32($0.count)), sum(vectors))
    }
  }

  private func readVectors() {
    let (flags, place) = (flags(), max(0, offset()))
    switch steps.below(4) {
    case 0: several(writes: true, at: -1) { libvos_call_readv($0, $1, $2) }
    case 1: several(writes: true, at: place) { libvos_call_preadv64($0, $1, $2, place) }
    case 2:
      let own = steps.below(2) == 0
      several(writes: true, at: own ? -1 : place) {
        libvos_call_preadv64v2($0, $1, $2, own ? -1 : place, flags & 1)
      }
    default:
      several(writes: true, at: -1) { received($0, $1, $2, flags) }
    }
  }

  private func writeVectors() {
    let (flags, place) = (flags(), max(0, offset()))
    switch steps.below(4) {
    case 0: several(writes: false, at: -1) { libvos_call_writev($0, $1, $2) }
    case 1: several(writes: false, at: place) { libvos_call_pwritev64($0, $1, $2, place) }
    case 2:
      let own = steps.below(2) == 0
      several(writes: false, at: own ? -1 : place) {
        libvos_call_pwritev64v2($0, $1, $2, own ? -1 : place, flags & 1)
      }
    default:
      several(writes: false, at: -1) { descriptor, vectors, count in
        var message = message(vectors, count, named: steps.below(2) == 0)
        return libvos_call_sendmsg(descriptor, &message, flags)
      }
    }
  }

  // Messages.

  private func message(
    _ vectors: UnsafePointer<libvos_vector>?, _ count: Int32, named: Bool
  ) -> libvos_message {
    let room = named ? steps.below(200) : 0
    return libvos_message(
      name: named ? libvos_fuzz_lend(room, 0x6e) : nil, name_length: UInt32(room),
      vectors: UnsafeMutablePointer(mutating: vectors), vector_count: Int(count), control: nil,
      control_length: 0, flags: 0)
  }

  private func received(
    _ descriptor: Int32, _ vectors: UnsafePointer<libvos_vector>?, _ count: Int32, _ flags: Int32
  ) -> Int {
    var message = message(vectors, count, named: steps.below(2) == 0)
    let room = message.name_length
    let result = libvos_call_recvmsg(descriptor, &message, flags)
    // Linux says how long the address is, also where there was less room.
    expect(message.name_length <= max(room, 128), "the sender's address is longer than any")
    expect(message.control_length == 0, "there is control data, and no room for it")
    return result
  }

  private func receiveFrom() {
    let (flags, room) = (flags(), UInt32(steps.below(200)))
    let name = libvos_fuzz_lend(Int(room), 0x6e)
    let length = libvos_fuzz_lend(4, 0).assumingMemoryBound(to: UInt32.self)
    length.pointee = room
    let counts = steps.below(16) != 0
    one(writes: true, at: -1) {
      libvos_call_recvfrom($0, $1, $2, flags, name, counts ? length : nil)
    }
    expect(length.pointee <= max(room, 128), "the sender's address is longer than any")
  }

  private func sendTo() {
    let (flags, bytes) = (flags(), UInt32(steps.below(200)))
    let name = libvos_fuzz_lend(Int(bytes), 0x6e)
    one(writes: false, at: -1) { libvos_call_sendto($0, $1, $2, flags, name, bytes) }
  }

  /// Messages of up to two vectors each.
  private func many(
    writes: Bool, _ body: (Int32, UnsafeMutablePointer<libvos_many_messages>, UInt32) -> Int32
  ) {
    let (descriptor, count) = (descriptor(), steps.below(5))
    let all = (0..<count).map { _ in vectors(writes ? 0xcc : 0x77, 2) }
    let bytes = MemoryLayout<libvos_vector>.stride
    let list = libvos_fuzz_lend(count * MemoryLayout<libvos_many_messages>.stride, 0)
      .assumingMemoryBound(to: libvos_many_messages.self)
    for (index, vectors) in all.enumerated() {
      let place = libvos_fuzz_lend(vectors.count * bytes, 0)
        .assumingMemoryBound(to: libvos_vector.self)
      for (at, vector) in vectors.enumerated() { place[at] = vector }
      list[index].message = message(place, Int32(vectors.count), named: steps.below(2) == 0)
    }
    libvos_fuzz_begin(descriptor, nil, 0, writes ? 1 : 0, 0, -2)
    let done = body(descriptor, list, UInt32(count))
    for (index, vectors) in all.enumerated() where index < done {
      expect(Int(list[index].length) <= sum(vectors), "a message is longer than its room")
    }
    libvos_fuzz_end(Int(done), count)
  }

  private func receiveMany() {
    let flags = flags() | (steps.below(4) == 0 ? 0x10000 : 0)
    many(writes: true) { libvos_call_recvmmsg($0, $1, $2, flags, nil) }
  }

  private func sendMany() {
    let flags = flags()
    many(writes: false) { libvos_call_sendmmsg($0, $1, $2, flags) }
  }

  // Readiness.

  private func milliseconds() -> Int32 { [-1, 0, 1, 1000][steps.below(4)] }

  private func poll() {
    let count = steps.below(6)
    let list = libvos_fuzz_lend(count * MemoryLayout<libvos_interest>.stride, 0)
      .assumingMemoryBound(to: libvos_interest.self)
    let events: [Int16] = [0x1, 0x1, 0x41, 0x2041, 0x4, 0, 0x7fff]
    for index in 0..<count {
      list[index] = libvos_interest(
        descriptor: descriptor(), events: events[steps.below(events.count)], found: 0)
    }
    let (longest, hasTime) = (milliseconds(), steps.below(3))
    var time = libvos_time(seconds: 0, nanoseconds: 1000)
    libvos_fuzz_begin(-1, nil, 0, 0, 0, -2)
    let ready =
      switch hasTime {
      case 0: libvos_call_ppoll(list, UInt(count), &time, nil)
      case 1: libvos_call_ppoll(list, UInt(count), nil, nil)
      default: libvos_call_poll(list, UInt(count), longest)
      }
    libvos_fuzz_end(Int(ready), count)
    let found = (0..<count).filter { list[$0].found != 0 }
    expect(ready < 0 || found.count == ready, "other descriptors are ready than are counted")
    for index in found {
      expect(list[index].found & ~list[index].events == 0, "events that nobody asked for")
    }
  }

  private func select() {
    let limit = [0, 16, 64, 100, 1024, -1][steps.below(6)]
    let bytes = max(0, (limit + 63) / 64 * 8)
    let sets = (0..<2).map { _ in
      libvos_fuzz_lend(bytes, 0).assumingMemoryBound(to: UInt64.self)
    }
    for _ in 0..<steps.below(6) {
      let number = Int(descriptor())
      if number < limit { sets[0][number / 64] |= 1 << UInt64(number % 64) }
    }
    if steps.below(8) == 0, bytes > 0 { sets[1][bytes / 8 - 1] = UInt64(steps.byte()) << 56 }
    let before = (0..<bytes / 8).map { sets[0][$0] }
    var time = libvos_time(seconds: Int64(steps.below(3)), nanoseconds: 5)
    let (isPlain, hasTime) = (steps.below(2) == 0, steps.below(2) == 0)
    libvos_fuzz_begin(-1, nil, 0, 0, 0, -2)
    let ready = withUnsafeMutablePointer(to: &time) { time in
      isPlain
        ? libvos_call_select(Int32(limit), sets[0], sets[1], nil, hasTime ? time : nil)
        : libvos_call_pselect(Int32(limit), sets[0], sets[1], nil, hasTime ? time : nil, nil)
    }
    libvos_fuzz_end(Int(ready), max(0, limit))
    for index in 0..<bytes / 8 {
      expect(sets[0][index] & ~before[index] == 0, "a descriptor is ready that nobody asked for")
    }
  }
}
