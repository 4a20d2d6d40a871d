// SPDX-License-Identifier: Apache-2.0

// Small programs about descriptors. `probe NAME FOLDER` prints what it sees; with and without
// libvos it must print the same.

import CDouble
import Glibc

let name = CommandLine.arguments[1]
let folder = CommandLine.arguments[2]
setvbuf(stdout, nil, _IONBF, 0)
alarm(name == "signal" ? 0 : 60)

func sum(_ bytes: ArraySlice<UInt8>) -> UInt64 {
  bytes.reduce(14_695_981_039_346_656_037) { ($0 ^ UInt64($1)) &* 1_099_511_628_211 }
}

@discardableResult
func get(_ descriptor: Int32, _ count: Int, _ label: String = "read") -> Int {
  var bytes = [UInt8](repeating: 0, count: count)
  let got = read(descriptor, &bytes, count)
  say("\(label) \(got) \(got > 0 ? sum(bytes[..<got]) : UInt64(got < 0 ? errno : 0))")
  return got
}

func say(_ text: String) {
  let line = Array((text + "\n").utf8)
  write(1, line, line.count)
}

func file(_ leaf: String, _ flags: Int32 = O_RDONLY) -> Int32 {
  cdouble_open(folder + "/" + leaf, flags, 0o644)
}

func waitAll() {
  var status: Int32 = 0
  while wait(&status) > 0 { say("child ended \(status)") }
}

func make(_ leaf: String, _ count: Int) {
  let descriptor = file(leaf, O_WRONLY | O_CREAT | O_TRUNC)
  var bytes = [UInt8](repeating: 0, count: count)
  for index in bytes.indices { bytes[index] = UInt8(truncatingIfNeeded: index &* 7 ^ index >> 8) }
  var done = 0
  while done < count {
    done += bytes[done...].withUnsafeBytes { write(descriptor, $0.baseAddress, $0.count) }
  }
  close(descriptor)
}

func files() {
  make("probe", 300_000)
  let it = file("probe", O_RDWR)
  get(it, 1); get(it, 4096); get(it, 100_000)
  say("at \(lseek(it, 0, SEEK_CUR)) end \(lseek(it, 0, SEEK_END)) back \(lseek(it, -10, SEEK_CUR))")
  get(it, 100); get(it, 100)
  say("bad seek \(lseek(it, -1, SEEK_SET)) \(errno) \(lseek(it, 0, 99)) \(errno)")
  say("far \(lseek(it, 1 << 50, SEEK_SET)) \(lseek(it, 5, SEEK_SET))")
  get(it, 7)
  var bytes = [UInt8](repeating: 65, count: 70_000)
  say("wrote \(write(it, bytes, 70_000)) at \(lseek(it, 0, SEEK_CUR))")
  say(
    "pwrite \(pwrite(it, bytes, 33, 299_990)) pread \(pread(it, &bytes, 50, 299_980)) \(sum(bytes[..<50]))"
  )
  say("at \(lseek(it, 0, SEEK_CUR))")
  bytes.withUnsafeMutableBytes { all in
    var vectors = [
      iovec(iov_base: all.baseAddress, iov_len: 3), iovec(iov_base: nil, iov_len: 0),
      iovec(iov_base: all.baseAddress! + 100, iov_len: 40_000),
    ]
    say(
      "writev \(writev(it, vectors, 3)) readv \(readv(it, &vectors, 3)) at \(lseek(it, 0, SEEK_CUR))"
    )
  }
  say(
    "zero \(read(it, &bytes, 0)) readv none \(readv(it, nil, 0)) bad \(readv(it, nil, -1)) \(errno)"
  )
  say("safe \(fsync(it)) \(fdatasync(it)) room \(cdouble_fallocate(it, 0, 400_000, 50_000))")
  say("end \(lseek(it, 0, SEEK_END)) bad room \(cdouble_fallocate(it, 0, -1, 5)) \(errno)")
  say("cut \(ftruncate(it, 1000)) bad cut \(ftruncate(it, -1)) \(errno)")
  say("short end \(lseek(it, 0, SEEK_END))"); get(it, 10)
  close(it)
  say("closed \(read(it, &bytes, 1)) \(errno)")
  let only = file("probe")
  say("read-only write \(write(only, bytes, 5)) \(errno) \(read(only, &bytes, 5))")
  say(
    "read-only cut \(ftruncate(only, 5)) \(errno) room \(cdouble_fallocate(only, 0, 0, 5)) \(errno)"
  )
  say("read-only safe \(fsync(only)) \(fdatasync(only))")
  close(only)
  let add = file("probe", O_WRONLY | O_APPEND)
  say("append \(write(add, bytes, 5)) \(lseek(add, 0, SEEK_CUR))")
  close(add)
  let log = file("log", O_RDWR | O_CREAT | O_TRUNC)
  write(log, "one\n", 4)
  say(
    "append later \(cdouble_fcntl(log, F_SETFL, Int(O_APPEND))) \(lseek(log, 0, SEEK_SET)) \(write(log, "two\n", 4))"
  )
  lseek(log, 0, SEEK_SET); get(log, 100)
  close(log)
  make("probe", 300_000)
}

/// What a database does: no trap where the file is attached.
func durable() {
  let it = file("durable", O_RDWR | O_CREAT | O_TRUNC)
  say("\(write(it, "data", 4)) \(fsync(it)) \(fdatasync(it)) \(ftruncate(it, 2))")
  // No socket, flags or none.
  var byte: UInt8 = 0
  say("\(recv(it, &byte, 1, 0)) \(errno == ENOTSOCK) \(send(it, &byte, 1, 0)) \(errno == ENOTSOCK)")
  close(it)
}

func shared() {
  make("probe", 300_000)
  let it = file("probe", O_RDWR)
  get(it, 100, "parent")
  if cdouble_fork() == 0 {
    get(it, 100, "child")
    let own = file("probe")
    get(own, 50_000, "child's own"); get(own, 50_000, "child's own")
    if cdouble_fork() == 0 { get(own, 10, "grandchild"); get(it, 10, "grandchild"); exit(3) }
    waitAll()
    get(own, 10, "child's own")
    exit(0)
  }
  waitAll()
  get(it, 100, "parent")
  let copy = dup(it)
  get(copy, 50, "copy"); get(it, 50, "original")
  let fresh = file("probe")
  get(fresh, 20, "fresh")
  dup2(fresh, copy)
  get(copy, 20, "replaced"); get(fresh, 20, "fresh"); get(it, 20, "original")
  let third = cdouble_fcntl(fresh, F_DUPFD, 50)
  get(third, 20, "third \(third)"); get(fresh, 20, "fresh")
  // A stream over a descriptor that was read.
  let under = file("probe"); get(under, 11, "under")
  let stream = fdopen(under, "r"); say("getc \(fgetc(stream)) \(fgetc(stream))"); fclose(stream)
  // Memory of a file just written.
  let mapped = file("probe", O_RDWR); lseek(mapped, 4096, SEEK_SET); write(mapped, "hello", 5)
  let memory = mmap(nil, 8192, PROT_READ, MAP_PRIVATE, mapped, 0)!
  say("mapped \(memory.load(fromByteOffset: 4097, as: UInt8.self))"); get(mapped, 5)
  // exec without close-on-exec.
  let passed = file("probe"); get(passed, 33, "passed")
  var child = pid_t()
  for command in [
    "head -c 10 <&\(passed) | od -An -tu1", "dd bs=7 count=2 status=none <&\(passed) | od -An -tu1",
  ] {
    let words: [UnsafeMutablePointer<CChar>?] = [strdup("sh"), strdup("-c"), strdup(command), nil]
    posix_spawn(&child, "/bin/sh", nil, nil, words, environ)
    waitAll()
    get(passed, 5, "passed")
  }
  say("system \(system("dd bs=3 count=1 status=none <&\(passed) | od -An -tu1"))")
  get(passed, 5, "passed")
  let last = file("probe"); get(last, 1000, "last")
  execv(
    "/bin/sh",
    [
      strdup("sh"), strdup("-c"), strdup("dd bs=5 count=1 status=none <&\(last) | od -An -tu1"),
      nil,
    ])
}

func rights() {
  make("probe", 300_000)
  let it = file("probe"); get(it, 77)
  var pair: [Int32] = [0, 0]
  socketpair(AF_UNIX, Int32(SOCK_STREAM.rawValue), 0, &pair)
  var message = cdouble_message()
  var byte: UInt8 = 1
  withUnsafeMutablePointer(to: &byte) { place in
    withUnsafeMutablePointer(to: &message) {
      cdouble_prepare($0, place, 1, it)
      say("sent \(sendmsg(pair[0], cdouble_header($0).assumingMemoryBound(to: msghdr.self), 0))")
      $0.pointee.control.fd = -1
      say("got \(recvmsg(pair[1], cdouble_header($0).assumingMemoryBound(to: msghdr.self), 0))")
    }
  }
  get(message.control.fd, 10, "passed"); get(it, 10, "kept")
}

nonisolated(unsafe) var shareds: Int32 = -1
nonisolated(unsafe) var total = 0
let lock = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
func threads() {
  pthread_mutex_init(lock, nil)
  make("probe", 3_000_000)
  shareds = file("probe")
  func four(_ body: @convention(c) (UnsafeMutableRawPointer?) -> UnsafeMutableRawPointer?) {
    var all = [pthread_t](repeating: 0, count: 4)
    for index in 0..<4 {
      pthread_create(&all[index], nil, body, UnsafeMutableRawPointer(bitPattern: index + 1))
    }
    for index in 0..<4 { pthread_join(all[index], nil) }
  }
  four { _ in
    var bytes = [UInt8](repeating: 0, count: 1000)
    var mine = 0
    while true {
      let got = read(shareds, &bytes, 1000)
      if got <= 0 { break }
      for byte in bytes[..<got] { mine &+= Int(byte) &* 31 }
      mine &+= got << 32
    }
    pthread_mutex_lock(lock); total &+= mine; pthread_mutex_unlock(lock)
    return nil
  }
  say("threads read \(total) at \(lseek(shareds, 0, SEEK_CUR))")
  shareds = file("out", O_RDWR | O_CREAT | O_TRUNC)
  four { number in
    let record = [UInt8](repeating: UInt8(Int(bitPattern: number)), count: 100)
    for _ in 0..<2000 { write(shareds, record, 100) }
    return nil
  }
  var counts = [Int](repeating: 0, count: 5)
  var record = [UInt8](repeating: 0, count: 100)
  lseek(shareds, 0, SEEK_SET)
  while read(shareds, &record, 100) == 100 {
    counts[record.allSatisfy { $0 == record[0] } ? Int(record[0]) : 0] += 1
  }
  say("threads wrote \(counts)")
  // Forks while others read: nobody may lose or repeat a byte.
  total = 0
  lseek(shareds, 0, SEEK_SET)
  four { number in
    var bytes = [UInt8](repeating: 0, count: 100)
    var mine = 0
    while case let got = read(shareds, &bytes, 100), got > 0 {
      mine += got
      if number == UnsafeMutableRawPointer(bitPattern: 1), mine % 20000 == 100 {
        let child = cdouble_fork()
        if child == 0 { _exit(0) }
        var status: Int32 = 0
        waitpid(child, &status, 0)
      }
    }
    pthread_mutex_lock(lock); total &+= mine; pthread_mutex_unlock(lock)
    return nil
  }
  say("with forks \(total)")
}

nonisolated(unsafe) var handled = 0
nonisolated(unsafe) var inHandler = 0
func signals() {
  make("probe", 3_000_000)
  shareds = file("probe")
  signal(SIGALRM) { _ in
    var bytes = (UInt64(0), UInt64(0))
    let got = read(shareds, &bytes, 16)
    if got > 0 { inHandler += got }
    handled += 1
  }
  var timer = itimerval(
    it_interval: timeval(tv_sec: 0, tv_usec: 300), it_value: timeval(tv_sec: 0, tv_usec: 300))
  setitimer(0 /* ITIMER_REAL */, &timer, nil)
  var bytes = [UInt8](repeating: 0, count: 64)
  var mine = 0
  while case let got = read(shareds, &bytes, 64), got > 0 { mine += got }
  timer = itimerval()
  setitimer(0 /* ITIMER_REAL */, &timer, nil)
  say("all bytes \(mine + inHandler)")
  fputs("handlers \(handled) read \(inHandler)\n", stderr)
}

func address(_ port: UInt16) -> sockaddr_in {
  var it = sockaddr_in()
  it.sin_family = sa_family_t(AF_INET)
  it.sin_port = port.bigEndian
  it.sin_addr.s_addr = UInt32(0x7f00_0001).bigEndian
  return it
}

func pair(_ type: Int32 = 0) -> (Int32, Int32) {
  let listener = socket(AF_INET, Int32(SOCK_STREAM.rawValue), 0)
  var here = address(0)
  var length = socklen_t(16)
  let client = socket(AF_INET, Int32(SOCK_STREAM.rawValue) | type, 0)
  withUnsafeMutablePointer(to: &here) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      bind(listener, $0, 16)
      listen(listener, 5)
      getsockname(listener, $0, &length)
      connect(client, $0, 16)
    }
  }
  let server = accept(listener, nil, nil)
  close(listener)
  return (client, server)
}

func sockets() {
  let (client, server) = pair()
  var bytes = [UInt8](repeating: 7, count: 100_000)
  say("send \(send(client, bytes, 1000, 0))"); get(server, 5000)
  say("write \(write(server, bytes, 10)) peek \(recv(client, &bytes, 4, Int32(MSG_PEEK)))");
  get(client, 100)
  say("none \(recv(client, &bytes, 10, Int32(MSG_DONTWAIT))) \(errno == EAGAIN)")
  // A blocking receive that has to wait.
  var thread = pthread_t()
  shareds = server
  pthread_create(
    &thread, nil,
    { _ in
      usleep(50_000); write(shareds, "late", 4); return nil
    }, nil)
  get(client, 10, "late"); pthread_join(thread, nil)
  // Much data both ways: a full buffer must block the sender, not lose bytes.
  pthread_create(
    &thread, nil,
    { _ in
      var block = [UInt8](repeating: 0, count: 65536)
      for index in block.indices { block[index] = UInt8(truncatingIfNeeded: index &* 13) }
      for _ in 0..<64 {
        let sent = write(shareds, block, 65536); if sent != 65536 { say("short \(sent)") }
      }
      return nil
    }, nil)
  usleep(100_000)
  var all: [UInt8] = []
  while all.count < 4 << 20 {
    let got = recv(client, &bytes, 100_000, 0)
    if got <= 0 { break }
    all += bytes[..<got]
  }
  pthread_join(thread, nil)
  say("much \(all.count) \(sum(all[...]))")
  var time = timeval(tv_sec: 0, tv_usec: 100_000)
  setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &time, 16)
  say("timeout \(recv(client, &bytes, 10, 0)) \(errno == EAGAIN)")
  time = timeval()
  setsockopt(client, SOL_SOCKET, SO_RCVTIMEO, &time, 16)
  // Readiness, level-triggered, with data taken by the fast path in between.
  let poller = cdouble_epoll_create1(0)
  var event = cdouble_event()
  event.events = 1
  cdouble_epoll_ctl(poller, 1, client, &event)
  say("quiet \(cdouble_epoll_wait(poller, &event, 1, 0))")
  write(server, "abcdef", 6)
  say("ready \(cdouble_epoll_wait(poller, &event, 1, 1000))"); get(client, 3)
  say("still \(cdouble_epoll_wait(poller, &event, 1, 0))"); get(client, 30)
  say("quiet \(cdouble_epoll_wait(poller, &event, 1, 0))")
  cdouble_fcntl(client, F_SETFL, Int(O_NONBLOCK)); get(client, 5, "non-blocking")
  var full = 0
  while case let sent = write(client, bytes, 100_000), sent > 0 { full += sent }
  say("full \(full > 100_000) \(errno == EAGAIN)")
  var drained = 0
  while drained < full, case let got = read(server, &bytes, 100_000), got > 0 { drained += got }
  say("drained \(drained == full)")
  // A copy, and a child that shares the connection.
  let copy = dup(client)
  write(server, "xyz", 3); usleep(10_000); get(copy, 1, "copy"); get(client, 1, "original")
  if cdouble_fork() == 0 { get(client, 9, "child"); write(client, "child", 5); exit(0) }
  waitAll(); get(server, 9, "from child")
  write(client, "parent", 6); get(server, 9, "from parent")
  shutdown(client, 1); get(server, 10, "end"); get(server, 10, "end")
  signal(SIGPIPE) { _ in handled += 1 }
  say(
    "broken \(write(client, "b", 1)) \(errno == EPIPE) \(handled) \(send(client, "c", 1, Int32(MSG_NOSIGNAL))) \(handled)"
  )
  close(client); close(copy)
  close(server)
}

func closing() {
  make("probe", 300_000)
  let (client, server) = pair()
  write(client, "12", 2); get(server, 1)
  let first = file("probe"); get(first, 10)
  // A daemon's way to start: every number closed.
  for descriptor in Int32(3)..<4000 where descriptor != server { close(descriptor) }
  get(first, 10, "closed"); get(server, 9, "kept")
  let second = file("probe"); get(second, 40_000); get(second, 40_000)
  // A number that libvos uses itself, if any.
  for wanted in Int32(895)..<910 { dup2(second, wanted) }
  get(905, 100); get(second, 100)
  let third = file("probe"); get(third, 20_000)
  cdouble_close_range(3, ~0, 0)
  get(third, 10, "closed")
  let fourth = file("probe"); get(fourth, 10)
  // With no other number left, libvos's own are the program's too.
  var limit = rlimit(rlim_cur: 1024, rlim_max: 1024)
  setrlimit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), &limit)
  while dup(0) >= 0 {}
  for wanted in Int32(895)..<920 { dup2(fourth, wanted) }
  get(fourth, 100)
  say("closed \((Int32(895)..<920).map { close($0) })")
}

nonisolated(unsafe) var parked = 0
nonisolated(unsafe) var refused = 0
nonisolated(unsafe) var waited = 0
/// A second library takes the waiting place over; it refuses every fifth time.
func waiter() {
  let place = UnsafeMutablePointer<cdouble_waiter>.allocate(capacity: 1)
  place.pointee = cdouble_waiter(
    version: 1,
    park: { pending in
      parked += 1
      if parked % 5 == 0 { refused += 1; return 0 }
      while pending!.pointee.state!.pointee & ~4 == pending!.pointee.submitted { sched_yield() }
      return 1
    },
    ready: { descriptor, events in
      waited += 1
      var one = pollfd(fd: descriptor, events: Int16(events), revents: 0)
      return poll(&one, 1, -1)
    })
  let found = dlsym(nil, "vos_set_waiter")
  if let found {
    typealias Set = @convention(c) (UnsafePointer<cdouble_waiter>?) -> Int32
    let set = unsafeBitCast(found, to: Set.self)
    place.pointee.version = 99
    if set(place) != -1 { say("a version that libvos does not know was taken") }
    place.pointee.version = 1
    if set(place) != 0 { say("the waiter was refused") }
  }
  files()
  let (client, server) = pair()
  shareds = server
  var thread = pthread_t()
  pthread_create(
    &thread, nil,
    { _ in
      usleep(50_000); write(shareds, "late", 4); return nil
    }, nil)
  get(client, 10, "late"); pthread_join(thread, nil)
  if found != nil, parked < 5 || refused == 0 || waited != 1 {
    say("parked \(parked), refused \(refused), waited \(waited)")
  }
}

/// The service breaks the protocol at some offsets: the bytes must come all the same.
func scribble() {
  make("large", 1_000_000)
  for trick in 1...6 {
    if cdouble_fork() == 0 {
      let it = file("large")
      get(it, 10_000)
      var bytes = [UInt8](repeating: 0, count: 5000)
      let got = pread(it, &bytes, 5000, 700_000 + trick)
      say("trick \(trick) \(got) \(sum(bytes[...]))")
      get(it, 10_000)
      exit(0)
    }
    waitAll()
  }
}

/// The C library's own calls.
func streams() {
  make("probe", 300_000)
  var bytes = [UInt8](repeating: 0, count: 70_000)
  let it = fopen(folder + "/probe", "r+")!
  say("read \(fread(&bytes, 1, 70_000, it)) \(sum(bytes[...])) at \(ftell(it))")
  fseek(it, -5, SEEK_END)
  say("end \(fread(&bytes, 1, 10, it)) \(feof(it)) at \(ftell(it))")
  rewind(it); fputs("hello", it); fflush(it)
  say("getc \(fgetc(it)) at \(ftell(it)) under it \(lseek(fileno(it), 0, SEEK_CUR))")
  get(fileno(it), 100)
  if cdouble_fork() == 0 { get(fileno(it), 20, "child"); exit(0) }
  waitAll(); get(fileno(it), 20, "parent")
  fclose(it)
  let again = fopen(folder + "/probe", "r")!
  say("again \(fread(&bytes, 1, 5000, again))")
  fclose(again)
  // The number means something else now.
  var ends: [Int32] = [0, 0]
  pipe(&ends)
  write(ends[1], "pipe", 4); get(ends[0], 10, "pipe"); close(ends[0]); close(ends[1])
  let add = fopen(folder + "/probe", "a")!
  fputs("appended", add); fclose(add)
  let both = fdopen(file("probe", O_RDWR), "r+")!
  fseek(both, -8, SEEK_END)
  say("tail \(fread(&bytes, 1, 100, both)) \(sum(bytes[..<8]))")
  say(
    "reopened \(freopen(folder + "/log", "w", both) != nil) \(fputs("new", both)) \(fclose(both))")
  let listing = opendir(folder)!
  var names = 0
  while let entry = readdir(listing) { names += Int(entry.pointee.d_type) & 8 }
  closedir(listing)
  say("listing \(names > 0)")
  let scratch = tmpfile()
  say("scratch \(fputs("abc", scratch)) \(rewind(scratch)) \(fgetc(scratch))"); fclose(scratch)
  var hints = addrinfo()
  var found: UnsafeMutablePointer<addrinfo>?
  hints.ai_family = AF_INET
  say("resolver \(getaddrinfo("localhost", "80", &hints, &found))")
}

/// Vectors at an offset, and at the descriptor's own; whole file systems written back.
func vectors() {
  make("probe", 300_000)
  let it = file("probe", O_RDWR)
  var bytes = [UInt8](repeating: 65, count: 90_000)
  bytes.withUnsafeMutableBytes { all in
    var list = [
      iovec(iov_base: all.baseAddress, iov_len: 5), iovec(iov_base: nil, iov_len: 0),
      iovec(iov_base: all.baseAddress! + 100, iov_len: 60_000),
    ]
    say("pwritev \(cdouble_pwritev(it, &list, 3, 1000)) at \(lseek(it, 0, SEEK_CUR))")
    say("preadv \(cdouble_preadv(it, &list, 3, 900)) \(sum(ArraySlice(all)))")
    say("preadv2 \(cdouble_preadv2(it, &list, 3, 290_000, 0)) at \(lseek(it, 0, SEEK_CUR))")
    say("own \(cdouble_preadv2(it, &list, 3, -1, 0)) at \(lseek(it, 0, SEEK_CUR))")
    say("own \(cdouble_pwritev2(it, &list, 1, -1, 0)) at \(lseek(it, 0, SEEK_CUR))")
    say(
      "bad \(cdouble_preadv(it, &list, 3, -5)) \(errno) \(cdouble_preadv(it, &list, -1, 0)) \(errno)"
    )
    let append: Int32 = 0x10
    say("append \(cdouble_pwritev2(it, &list, 1, 0, append)) end \(lseek(it, 0, SEEK_END))")
    say("odd flag \(cdouble_preadv2(it, &list, 3, 0, 1 << 20)) \(errno == EOPNOTSUPP)")
  }
  sync()
  say("syncfs \(cdouble_syncfs(it)) \(cdouble_syncfs(-1)) \(errno)")
  close(it)
}

func bound() -> (Int32, sockaddr_in) {
  let it = socket(AF_INET, Int32(SOCK_DGRAM.rawValue), 0)
  var here = address(0)
  var length = socklen_t(16)
  withUnsafeMutablePointer(to: &here) {
    $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
      bind(it, $0, 16)
      getsockname(it, $0, &length)
    }
  }
  return (it, here)
}

/// Datagrams with their addresses.
func datagrams() {
  var (one, here) = bound()
  var (two, there) = bound()
  let bytes = [UInt8](repeating: 9, count: 20_000)
  func send(_ count: Int, _ flags: Int32 = 0) -> Int {
    withUnsafeMutablePointer(to: &there) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        sendto(one, bytes, count, flags, $0, 16)
      }
    }
  }
  func receive(_ count: Int, _ flags: Int32 = 0, room: socklen_t = 16) {
    var from = sockaddr_in()
    var length = room
    var buffer = [UInt8](repeating: 0, count: count)
    let got = withUnsafeMutablePointer(to: &from) {
      $0.withMemoryRebound(to: sockaddr.self, capacity: 1) {
        recvfrom(two, &buffer, count, flags, $0, &length)
      }
    }
    if got < 0 { return say("none \(errno == EAGAIN)") }
    let isFromOne = room < 16 || from.sin_port == here.sin_port
    say("got \(got) \(sum(buffer[...])) \(length) \(isFromOne) \(from.sin_family)")
  }
  receive(10, Int32(MSG_DONTWAIT))
  say("sent \(send(100)) \(send(9000)) \(send(0)) \(send(19_000))")
  receive(200, Int32(MSG_PEEK)); receive(200); receive(10_000); receive(50); receive(100)
  say("sent \(send(64)) \(send(64)) \(send(64))")
  receive(10); receive(100, room: 4); receive(64, Int32(MSG_TRUNC))
  say(
    "too long \(send(70_000 > bytes.count ? bytes.count : 1)) \(sendto(one, bytes, 5, 0, nil, 0)) \(errno)"
  )
  receive(20_000)
  // A late one.
  shareds = one
  var thread = pthread_t()
  let place = UnsafeMutablePointer<sockaddr_in>.allocate(capacity: 1)
  place.pointee = there
  pthread_create(
    &thread, nil,
    { place in
      usleep(50_000)
      sendto(shareds, "late", 4, 0, place!.assumingMemoryBound(to: sockaddr.self), 16)
      return nil
    }, place)
  receive(10); pthread_join(thread, nil)
  many(one, two, &here, &there)
  var time = timeval(tv_sec: 0, tv_usec: 50_000)
  setsockopt(two, SOL_SOCKET, SO_RCVTIMEO, &time, 16)
  receive(5)
}

func many(_ one: Int32, _ two: Int32, _ here: inout sockaddr_in, _ there: inout sockaddr_in) {
  var out: [UInt8] = [1, 2, 3, 4, 5, 6, 7, 8]
  var room = [UInt8](repeating: 0, count: 64)
  var names = [sockaddr_in](repeating: sockaddr_in(), count: 4)
  out.withUnsafeMutableBytes { out in
    room.withUnsafeMutableBytes { room in
      names.withUnsafeMutableBytes { names in
        withUnsafeMutableBytes(of: &there) { to in
          var sends = (0..<4).map { iovec(iov_base: out.baseAddress! + $0, iov_len: $0 + 1) }
          var takes = (0..<4).map { iovec(iov_base: room.baseAddress! + $0 * 16, iov_len: 16) }
          sends.withUnsafeMutableBufferPointer { sends in
            takes.withUnsafeMutableBufferPointer { takes in
              var list = [cdouble_many](repeating: cdouble_many(), count: 4)
              for index in 0..<4 {
                list[index].message.name = to.baseAddress
                list[index].message.name_length = 16
                list[index].message.vectors = UnsafeMutableRawPointer(sends.baseAddress! + index)
                list[index].message.vector_count = 1
              }
              say("sendmmsg \(cdouble_sendmmsg(one, &list, 4, 0)) \(list.map(\.length))")
              for index in 0..<4 {
                list[index].message.name = names.baseAddress! + index * 16
                list[index].message.vectors = UnsafeMutableRawPointer(takes.baseAddress! + index)
              }
              say("recvmmsg \(cdouble_recvmmsg(two, &list, 3, 0, nil)) \(list.map(\.length))")
              let more = cdouble_recvmmsg(two, &list, 4, 0x10000, nil)
              say("one \(more) \(list[0].length) \(list[0].message.name_length)")
              say("none \(cdouble_recvmmsg(two, &list, 4, 0x40, nil)) \(errno == EAGAIN)")
            }
          }
        }
      }
    }
  }
  say("bytes \(sum(room[...])) \(names[1].sin_port == here.sin_port)")
}

/// select over sets of 1024 bits.
func pick(_ label: String, _ read: [Int32], _ write: [Int32] = [], _ milliseconds: Int = 0) {
  func set(_ all: [Int32]) -> [UInt64] {
    var words = [UInt64](repeating: 0, count: 16)
    for one in all { words[Int(one / 64)] |= 1 << UInt64(one % 64) }
    return words
  }
  var (reads, writes) = (set(read), set(write))
  var time = timeval(tv_sec: 0, tv_usec: milliseconds * 1000)
  let last = (read + write).max() ?? 0
  let ready = reads.withUnsafeMutableBytes { reads in
    writes.withUnsafeMutableBytes { writes in
      select(
        last + 1, reads.baseAddress!.assumingMemoryBound(to: fd_set.self),
        writes.baseAddress!.assumingMemoryBound(to: fd_set.self), nil, &time)
    }
  }
  let found = read.map { reads[Int($0 / 64)] >> UInt64($0 % 64) & 1 }
  say("\(label) \(ready) \(found) \(reads.reduce(0) { $0 + $1.nonzeroBitCount })")
}

@_silgen_name("ppoll")
func cdouble_ppoll(
  _ list: UnsafeMutablePointer<pollfd>, _ count: UInt, _ time: UnsafeMutablePointer<timespec>,
  _ signals: UnsafeMutableRawPointer?
) -> Int32

/// Files, read or not, appended to or not, have no readiness that epoll could tell.
func interest() {
  make("probe", 100)
  let poller = cdouble_epoll_create1(0)
  let used = file("probe"); get(used, 10)
  var ends: [Int32] = [0, 0]
  pipe(&ends)
  for descriptor in [used, file("probe"), file("probe", O_WRONLY | O_APPEND), ends[0]] {
    var event = cdouble_event()
    event.events = 1
    let result = cdouble_epoll_ctl(poller, 1, descriptor, &event)
    say("interest \(result) \(result < 0 ? errno : 0)")
  }
  get(used, 10)
}

/// Files that somebody watches are the kernel path's: from the next call on, and those opened later.
func watched() {
  let (used, later) = (file("watched", O_RDWR | O_CREAT | O_TRUNC), file("watched", O_RDWR))
  put(used, "one")
  get(later, 1)
  let result = cdouble_inotify_add_watch(inotify_init1(0), folder + "/watched", 2)
  say("watch \(result)")
  put(used, "four")
  put(used, "fives")
  say("sync \(fsync(used)) at \(lseek(used, 0, SEEK_CUR)) cut \(ftruncate(used, 5))")
  get(later, 10)
  let fresh = file("watched", O_RDWR)
  put(fresh, "ssssix")
  get(later, 10)
}

func put(_ descriptor: Int32, _ text: String) {
  let bytes = Array(text.utf8)
  say("write \(write(descriptor, bytes, bytes.count))")
}

/// poll, of remote sockets alone and with others.
func readiness() {
  let (client, server) = pair()
  let (other, far) = pair()
  var ends: [Int32] = [0, 0]
  pipe(&ends)
  func ask(_ label: String, _ list: [(Int32, Int32)], _ milliseconds: Int32 = 0) {
    var all = list.map { pollfd(fd: $0.0, events: Int16($0.1), revents: -1) }
    let ready = poll(&all, nfds_t(all.count), milliseconds)
    say("\(label) \(ready) \(all.map { String(UInt16(bitPattern: $0.revents), radix: 16) })")
  }
  write(server, "123", 3); get(client, 1); write(far, "45", 2); get(other, 1)
  for turn in 0..<40 {
    ask("one \(turn)", [(client, POLLIN)])
    ask("two", [(client, POLLIN), (other, POLLIN | Int32(POLLPRI))], 1000)
    ask("nothing of two", [(server, POLLIN), (far, POLLIN)])
  }
  ask("of four", [(client, POLLIN), (server, POLLIN), (far, POLLIN), (other, POLLIN)])
  ask(
    "of five", [(client, POLLIN), (server, POLLIN), (far, POLLIN), (other, POLLIN), (-1, POLLIN)])
  ask("room", [(client, POLLOUT)]); ask("both", [(client, POLLIN | POLLOUT)])
  ask("mixed", [(client, POLLIN), (ends[0], POLLIN)]); ask("none", []);
  ask("no one", [(-1, POLLIN)])
  ask("closed number", [(client, POLLIN), (777, POLLIN)])
  var time = timespec(tv_sec: 0, tv_nsec: 0)
  var single = pollfd(fd: client, events: Int16(POLLIN), revents: 0)
  say("ppoll \(cdouble_ppoll(&single, 1, &time, nil)) \(single.revents)")
  for _ in 0..<20 {
    pick("pick one", [client]); pick("pick two", [client, server, other], [], 1000)
  }
  pick("pick five", [client, server, far, other, ends[0]]);
  pick("room", [client], [client, server])
  pick("mixed", [client, ends[0]]); pick("none", []); pick("nothing", [server], [], 5)
  get(client, 9); get(other, 9)
  ask("empty", [(client, POLLIN)]); ask("empty", [(client, POLLIN)], 20)
  shareds = server
  var thread = pthread_t()
  pthread_create(
    &thread, nil,
    { _ in
      usleep(30_000); write(shareds, "x", 1); return nil
    }, nil)
  ask("late", [(client, POLLIN)], -1); pthread_join(thread, nil); get(client, 2)
  shutdown(server, 1)
  ask("ended", [(client, POLLIN)], 1000); ask("half", [(client, POLLIN | 0x2000)], 1000)
  shutdown(client, 1)
  ask("hung up", [(client, POLLIN)], 1000); get(client, 3)
}

switch name {
case "readiness": readiness()
case "interest": interest()
case "watched": watched()
case "vectors": vectors()
case "datagrams": datagrams()
case "streams": streams()
case "scribble": scribble()
case "waiter": waiter()
case "files": files()
case "durable": durable()
case "shared": shared()
case "rights": rights()
case "threads": threads()
case "signal": signals()
case "sockets": sockets()
case "closing": closing()
default: exit(2)
}
