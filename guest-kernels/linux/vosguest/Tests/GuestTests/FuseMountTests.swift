// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Channel
import Foundation
import Synchronization
import Testing

@testable import Guest

let canMount = geteuid() == 0 && access("/dev/fuse", R_OK | W_OK) == 0

/// The whole way of a file call but for the kernel module: mount, forwarder, slots, service.
final class Mounted {
  let export: String
  let mount: String
  let channel: MemoryChannel
  private(set) var served: Served<FuseService>
  private let ended = DispatchSemaphore(value: 0)

  init(export: String? = nil, outageMilliseconds: UInt64 = 20000) throws {
    let export = try export ?? scratchFolder()
    self.export = export
    mount = try scratchFolder()
    guard let channel = MemoryChannel(carries: VOS_CARRIES_FILES) else { throw Missing() }
    self.channel = channel
    channel.giveOut(0)
    channel.giveOut(1)
    served = try Served(channel, threads: 4) { FuseService(region: $0, export: export) }
    guard let fuse = FileForwarder.mount(at: mount, name: "test").descriptor else {
      throw Missing()
    }
    let device = MemoryChannel.Client(channel, slice: 1)
    let forwarder = FileForwarder(
      device, fuse: fuse, mountedAt: mount, outageMilliseconds: outageMilliseconds)
    let ended = ended
    System.startThread {
      forwarder.run(threads: 4)
      ended.signal()
    }
  }

  /// The service's domain dies; another takes its place if `returns`.
  func restart(returns: Bool = true) throws {
    served.stop()
    let region = channel.region
    region.announce(.service, life: .failed, generation: region.generation(of: .service))
    if returns { try comeBack() }
  }

  func comeBack() throws {
    let (region, export) = (channel.region, export)
    region.announce(.service, life: .alive, generation: region.generation(of: .service) + 1)
    served = try Served(channel, threads: 4) { FuseService(region: $0, export: export) }
  }

  func end() {
    _ = try? shell("umount \(mount) || umount -l \(mount)")
    ended.wait()
    served.stop()
  }
}

@Suite(.serialized, .enabled(if: canMount, "needs root and /dev/fuse"))
struct FuseMountTests {
  /// Nobody sees what lies below the mount, however late the service is.
  @Test func aMountWaitsForItsService() throws {
    let export = try scratchFolder()
    let mount = try scratchFolder()
    try shell("echo remote > \(export)/x; echo local > \(mount)/x")
    let channel = try the(MemoryChannel(carries: VOS_CARRIES_FILES))
    channel.giveOut(1)
    let fuse = try the(FileForwarder.mount(at: mount, name: "test").descriptor)
    let forwarder = FileForwarder(
      MemoryChannel.Client(channel, slice: 1), fuse: fuse, mountedAt: mount)
    let ended = DispatchSemaphore(value: 0)
    System.startThread {
      forwarder.run(threads: 2)
      ended.signal()
    }
    let isRead = DispatchSemaphore(value: 0)
    let text = Mutex("")
    System.startThread {
      let got = (try? shell("cat \(mount)/x")) ?? "nothing"
      text.withLock { $0 = got }
      isRead.signal()
    }
    #expect(isRead.wait(timeout: .now() + 0.5) == .timedOut)
    let served = try Served(channel, threads: 2) { FuseService(region: $0, export: export) }
    #expect(isRead.wait(timeout: .now() + 20) == .success)
    #expect(text.withLock { $0 } == "remote\n")
    try shell("umount \(mount) || umount -l \(mount)")
    ended.wait()
    served.stop()
  }

  @Test func ordinaryProgramsWork() throws {
    let it = try Mounted()
    defer { it.end() }
    try shell(
      """
      cd \(it.mount)
      dd if=/dev/urandom of=/tmp/vosguest.data bs=1M count=9 status=none
      cp /tmp/vosguest.data a && cmp a /tmp/vosguest.data && cmp \(it.export)/a a
      mkdir -p d/e/f && echo one > d/e/f/x && mv d/e g && test "$(cat g/f/x)" = one
      ln a b && test "$(stat -c %h a)" = 2
      ln -s /etc/passwd s && test "$(readlink s)" = /etc/passwd
      rm b && test "$(stat -c %h a)" = 1
      chmod 640 a && test "$(stat -c %a a)" = 640
      chown 12:34 a && test "$(stat -c %u:%g a)" = 12:34
      touch -d '2001-02-03 04:05:06.123456789' a
      test "$(stat -c %y a | cut -c1-29)" = '2001-02-03 04:05:06.123456789'
      truncate -s 5 a && test "$(stat -c %s a)" = 5
      echo more >> a && test "$(stat -c %s a)" = 10
      seq 1 3000 | while read i; do : > g/$i; done
      test "$(ls g | wc -l)" = 3001
      ls -l g > /dev/null
      find . -type f | sort | head -3 > /dev/null
      sort -R g/f/x > sorted && test "$(cat sorted)" = one
      mkfifo p && test -p p && (echo hi > p & test "$(cat p)" = hi)
      rm -r g && ! test -e g
      rmdir d && df . > /dev/null
      fallocate -l 100000 z && test "$(stat -c %s z)" = 100000
      sync -d z
      python3 - <<'END'
      import os, mmap
      os.setxattr("z", "user.colour", b"blue")
      assert os.getxattr("z", "user.colour") == b"blue"
      assert os.listxattr("z") == ["user.colour"]
      os.removexattr("z", "user.colour")
      try: os.setxattr("z", "system.x", b"1"); assert False
      except OSError as e: assert e.errno == 95
      f = os.open("m", os.O_RDWR | os.O_CREAT)
      os.ftruncate(f, 8192)
      with mmap.mmap(f, 8192) as m:
        m[4096:4101] = b"hello"
        m.flush()
      assert open("m", "rb").read()[4096:4101] == b"hello"
      os.ftruncate(f, 1 << 20)
      assert os.lseek(f, 0, os.SEEK_HOLE) >= 0
      os.rename("m", "n")
      t = os.open("n", os.O_RDONLY); os.unlink("n")
      assert os.pread(t, 5, 4096) == b"hello"
      END
      """)
  }

  @Test func identitiesAndPermissionsHold() throws {
    let it = try Mounted()
    defer { it.end() }
    try shell(
      """
      chmod 755 \(it.mount); cd \(it.mount)
      mkdir open shut team && chmod 1777 open && chmod 700 shut && chmod 2770 team
      chgrp 4321 team && echo secret > shut/x
      as() { setpriv --reuid 1234 --regid 1234 --groups "${groups:-1234}" -- "$@"; }
      as touch open/mine && test "$(stat -c %u:%g open/mine)" = 1234:1234
      as mkdir open/dir && as ln -s x open/link && test "$(stat -c %u open/link)" = 1234
      ! as cat shut/x 2> /dev/null
      ! as touch team/no 2> /dev/null
      groups=4321 as touch team/yes && test "$(stat -c %u:%g team/yes)" = 1234:4321
      echo x > open/root && ! as rm -f open/root 2> /dev/null
      cp /bin/true open/suid && chown 1234 open/suid && chmod 4755 open/suid
      as sh -c 'echo x >> open/suid' && test "$(stat -c %a open/suid)" = 755
      umask 077 && as touch open/masked && test "$(stat -c %a open/masked)" = 600
      """)
  }

  /// The same random operations on the mount and on a plain file must read the same.
  @Test func randomOperationsAgreeWithALocalFile() throws {
    let it = try Mounted()
    defer { it.end() }
    try shell(
      """
      cd \(it.mount)
      python3 - <<'END'
      import os, random, mmap
      random.seed(7)
      plain = os.open("/tmp/vosguest.plain", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
      far = os.open("file", os.O_RDWR | os.O_CREAT | os.O_TRUNC)
      limit = 3 << 20
      for step in range(4000):
        at, size = random.randrange(limit), random.randrange(1, 300000)
        kind = random.randrange(10)
        if kind < 4:
          data = random.randbytes(size)
          assert os.pwrite(plain, data, at) == os.pwrite(far, data, at)
        elif kind < 7:
          assert os.pread(plain, size, at) == os.pread(far, size, at), step
        elif kind == 7:
          os.ftruncate(plain, at); os.ftruncate(far, at)
        elif kind == 8:
          os.close(far); far = os.open("file", os.O_RDWR)
        else:
          assert os.fstat(plain).st_size == os.fstat(far).st_size
          n = os.fstat(far).st_size
          if n > 0:
            with mmap.mmap(far, n) as m:
              w = min(n, 50); o = random.randrange(n - w + 1)
              data = random.randbytes(w); m[o:o+w] = data; m.flush()
              os.pwrite(plain, data, o)
      n = os.fstat(plain).st_size
      assert os.pread(plain, n, 0) == os.pread(far, n, 0)
      END
      cmp file /tmp/vosguest.plain; rm /tmp/vosguest.plain
      """)
  }

  @Test func processesInParallel() throws {
    let it = try Mounted()
    defer { it.end() }
    try shell(
      """
      cd \(it.mount)
      for w in 1 2 3 4 5 6; do
        ( for i in $(seq 60); do
            mkdir w$w-$i && head -c $((i * 997)) /dev/urandom > w$w-$i/f && cp w$w-$i/f w$w-$i/g
            cmp w$w-$i/f w$w-$i/g && rm -r w$w-$i; done ) & pids="${pids:-} $!"
      done
      for p in $pids; do wait $p; done
      test -z "$(ls)"
      """)
  }

  /// A file that a process's slice writes directly: the mount sees every change.
  @Test func directWritesAreSeenThroughTheMount() throws {
    let it = try Mounted()
    defer { it.end() }
    it.channel.giveOut(2, uid: 1000)
    let caller = Caller(it.channel, slice: 2)
    let path = it.mount + "/file"
    let file = open(path, O_RDWR | O_CREAT, 0o644)
    defer { close(file) }
    write(file, "0123456789", 10)
    let object = guest_call(Int(SYS_ioctl), Int(file), Int(VOS_IOC_ATTACH), 2, 0, 0, 0)
    #expect(object >= 0)
    // Another slice has no part in it, and a process may not post file-system messages.
    it.channel.giveOut(3, uid: 1000)
    let stranger = Caller(it.channel, slice: 3)
    #expect(try stranger.call(VOS_CALL_PREAD64, UInt64(object), room: 10).result == -9)
    #expect(
      try caller.call(VOS_CALL_FUSE, data: [UInt8](repeating: 0, count: 40), room: 100).result == -1
    )

    var buffer = [UInt8](repeating: 0, count: 10)
    for round in 0..<500 {
      let digit = UInt8(48 + round % 10)
      let answer = try caller.call(
        VOS_CALL_PWRITE64, UInt64(object), (3, 0, 0), data: [digit])
      #expect(answer.result == 1)
      pread(file, &buffer, 10, 0)
      #expect(buffer[3] == digit, "round \(round)")
      // The other way round: the mount writes, the slice reads.
      pwrite(file, [digit], 1, 5)
      #expect(
        try caller.call(VOS_CALL_PREAD64, UInt64(object), (5, 0, 0), room: 4).bytes.first == digit)
    }
    #expect(guest_call(Int(SYS_ioctl), Int(file), Int(VOS_IOC_DETACH), 0, 0, 0, 0) == 0)
    #expect(try caller.call(VOS_CALL_PREAD64, UInt64(object), room: 10).result == -9)
  }

  /// Who holds a descriptor may use it with a slice of its own, not with anybody's.
  @Test func onlyItsOwnSliceMayBeAttached() throws {
    let it = try Mounted()
    defer { it.end() }
    it.channel.giveOut(2, uid: 1000)
    it.channel.giveOut(3, pid: UInt32(getpid()) + 1, uid: 1000)
    let path = it.mount + "/file"
    try shell("printf abcd > \(path)")
    let file = open(path, O_RDONLY)
    defer { close(file) }
    func attach(_ slice: Int) -> Int {
      guest_call(Int(SYS_ioctl), Int(file), Int(VOS_IOC_ATTACH), slice, 0, 0, 0)
    }
    let object = attach(2)
    #expect(object >= 0)
    #expect(attach(3) == -1)
    #expect(attach(1) >= 0)
    #expect(attach(2) == object)
    // Another process, with a descriptor of its own and with its parent's.
    let outcome = try shell(
      """
      exec 7</proc/\(getpid())/fd/\(file)
      python3 - <<'END'
      import fcntl, os
      for f in (7, os.open("\(path)", os.O_RDONLY)):
        try: print(fcntl.ioctl(f, 0x7605, 2))
        except OSError as e: print(e.errno)
      END
      """)
    #expect(outcome == "1\n1\n")
    // What was refused has changed nothing.
    let owner = Caller(it.channel, slice: 2)
    let answer = try owner.call(VOS_CALL_PREAD64, UInt64(object), room: 4)
    #expect(answer.bytes == Array("abcd".utf8))
  }

  /// A file that somebody else may map is not used directly: what is written is in the mapping.
  @Test func aSharedFileIsNotUsedDirectly() throws {
    let it = try Mounted()
    defer { it.end() }
    it.channel.giveOut(2, uid: 1000)
    let caller = Caller(it.channel, slice: 2)
    let path = it.mount + "/file"
    let writer = open(path, O_RDWR | O_CREAT, 0o644)
    defer { close(writer) }
    #expect(write(writer, "0000", 4) == 4)
    func attach(_ file: Int32) -> Int {
      guest_call(Int(SYS_ioctl), Int(file), Int(VOS_IOC_ATTACH), 2, 0, 0, 0)
    }
    let object = attach(writer)
    #expect(object >= 0)
    #expect(try caller.call(VOS_CALL_PWRITE64, UInt64(object), (0, 0, 0), data: [49]).result == 1)
    let reader = open(path, O_RDONLY)
    let map = try the(mmap(nil, 4096, PROT_READ, MAP_SHARED, reader, 0))
    #expect(map.load(as: UInt8.self) == 49)
    // Its process goes on through the kernel, which knows the mapping.
    let refused = try caller.call(VOS_CALL_PWRITE64, UInt64(object), (0, 0, 0), data: [50])
    #expect(refused.result == -9)
    #expect(pwrite(writer, [50], 1, 0) == 1)
    #expect(map.load(as: UInt8.self) == 50)
    #expect(attach(writer) == -16)
    // The mapping is an open, also when its descriptor is closed.
    close(reader)
    #expect(attach(writer) == -16)
    munmap(map, 4096)
    var again = attach(writer)
    for _ in 0..<1000 where again == -16 {
      usleep(2000)  // the kernel tells of the last close when it likes
      again = attach(writer)
    }
    #expect(again >= 0)
    // Readers alone disturb nobody.
    close(writer)
    let (one, two) = (open(path, O_RDONLY), open(path, O_RDONLY))
    defer {
      close(one)
      close(two)
    }
    var shared = attach(one)
    for _ in 0..<1000 where shared == -16 {
      usleep(2000)
      shared = attach(one)
    }
    #expect(shared >= 0)
    #expect(attach(two) >= 0)
  }

  /// What a user's process writes directly is written as that user, not as the service's root.
  @Test(arguments: [(UInt32(1000), 0o777), (0, 0o4777)])
  func aDirectWriteIsItsProcesssOwn(uid: UInt32, mode: Int) throws {
    let it = try Mounted()
    defer { it.end() }
    it.channel.giveOut(2, uid: uid)
    let path = it.mount + "/file"
    try shell("printf abcd > \(path); chmod 4777 \(path)")
    let file = open(path, O_RDWR)
    defer { close(file) }
    let object = guest_call(Int(SYS_ioctl), Int(file), Int(VOS_IOC_ATTACH), 2, 0, 0, 0)
    let answer = try Caller(it.channel, slice: 2).call(
      VOS_CALL_PWRITE64, UInt64(object), (0, 0, 0), data: [65])
    #expect(answer.result == 1)
    #expect(try shell("stat -c %a \(path)") == String(mode, radix: 8) + "\n")
  }

  /// What keeps data safe and gives it room, without the client's kernel.
  @Test func aDirectCallWithoutData() throws {
    let it = try Mounted()
    defer { it.end() }
    it.channel.giveOut(2, uid: 1000)
    let caller = Caller(it.channel, slice: 2)
    let path = it.mount + "/file"
    try shell("printf abcdef > \(path); chmod 4777 \(path)")
    let file = open(path, O_RDWR)
    defer { close(file) }
    let object = UInt64(guest_call(Int(SYS_ioctl), Int(file), Int(VOS_IOC_ATTACH), 2, 0, 0, 0))
    #expect(try caller.call(VOS_CALL_FSYNC, object).result == 0)
    #expect(try caller.call(VOS_CALL_FDATASYNC, object).result == 0)
    #expect(try shell("stat -c %a \(path)") == "4777\n")
    #expect(try caller.call(VOS_CALL_FTRUNCATE, object, (4, 0, 0)).result == 0)
    // Cut as that user: what a local kernel takes away then is gone.
    #expect(try shell("stat -c '%s %a' \(path)") == "4 777\n")
    #expect(try caller.call(VOS_CALL_FALLOCATE, object, (0, 0, 10)).result == 0)
    #expect(try shell("stat -c %s \(path)") == "10\n")
    // Collapsing a range cannot be done twice.
    #expect(try caller.call(VOS_CALL_FALLOCATE, object, (8, 0, 4096)).result == -95)
    #expect(try caller.call(VOS_CALL_FTRUNCATE, object, (UInt64.max, 0, 0)).result == -22)
    let stranger = Caller(it.channel, slice: 3)
    it.channel.giveOut(3, uid: 1000)
    for call in [VOS_CALL_FSYNC, VOS_CALL_FDATASYNC, VOS_CALL_FTRUNCATE, VOS_CALL_FALLOCATE] {
      #expect(try stranger.call(call, object).result == -9)
    }
    #expect(try shell("stat -c %s \(path)") == "10\n")
  }

  @Test func aDeadSliceLosesItsFiles() throws {
    let it = try Mounted()
    defer { it.end() }
    it.channel.giveOut(2, generation: 5, uid: 1000)
    let file = open(it.mount + "/file", O_RDWR | O_CREAT, 0o644)
    defer { close(file) }
    let object = guest_call(Int(SYS_ioctl), Int(file), Int(VOS_IOC_ATTACH), 2, 0, 0, 0)
    it.channel.region.publish(SliceEntry(state: .dead, generation: 5), slice: 2)
    it.channel.ringService()
    while it.channel.region.releasedGeneration(slice: 2) != 5 { usleep(1000) }
    it.channel.giveOut(2, generation: 6, uid: 1000)
    #expect(
      try Caller(it.channel, slice: 2).call(VOS_CALL_PREAD64, UInt64(object), room: 10).result == -9
    )
  }

  /// Messages that no kernel sends: each gets its reply or, where there is none, is done with.
  @Test func nonsenseIsAnswered() throws {
    let export = try scratchFolder()
    defer { _ = try? shell("chattr -R -i -a \(export); rm -rf \(export)") }
    try shell("mkdir \(export)/d; printf text > \(export)/f")
    let channel = try the(MemoryChannel(carries: VOS_CARRIES_FILES))
    channel.giveOut(0)
    let served = try Served(channel) { FuseService(region: $0, export: export) }
    defer { served.stop() }
    let caller = Caller(channel)
    var random = SeededGenerator(7)
    let headBytes = MemoryLayout<fuse_in_header>.size
    for round in 0..<6000 {
      var body = (0..<Int.random(in: 0...120, using: &random)).map { _ in
        UInt8.random(in: 0...255, using: &random)
      }
      // Small numbers, names and strings that end get further than noise.
      for index in body.indices where Int.random(in: 0..<3, using: &random) > 0 {
        body[index] = [0, 0, 0, 1, 97, 102][Int.random(in: 0..<6, using: &random)]
      }
      var head = fuse_in_header()
      head.len = UInt32(headBytes + body.count)
      head.opcode = UInt32.random(in: 1...56, using: &random)
      head.unique = UInt64(round)
      head.nodeid = UInt64.random(in: 0...3, using: &random)
      let message = withUnsafeBytes(of: head) { Array($0) } + body
      let answer = try caller.call(VOS_CALL_FUSE, data: message, room: 8192)
      // EINVAL: it is too short to be answered as a message.
      #expect(answer.result == 0 || answer.result == -22)
      #expect(answer.bytes.isEmpty || answer.bytes.count >= 16)
    }
  }

  @Test func aServiceThatStaysAwayGivesErrors() throws {
    let it = try Mounted(outageMilliseconds: 300)
    defer { it.end() }
    try shell("ls \(it.mount)")
    try it.restart(returns: false)
    #expect(throws: ScriptFailed.self) { try shell("stat \(it.mount)/nothing") }
    #expect(throws: ScriptFailed.self) { try shell("mkdir \(it.mount)/folder") }
    try it.comeBack()
    try shell("mkdir \(it.mount)/folder && touch \(it.mount)/folder/x")
  }

  /// A mount that was never answered ends instead of holding everybody who looks at it.
  @Test func aMountWithoutAServiceEnds() throws {
    let channel = try the(MemoryChannel(carries: VOS_CARRIES_FILES))
    let mount = try scratchFolder()
    let fuse = try the(FileForwarder.mount(at: mount, name: "test").descriptor)
    let forwarder = FileForwarder(
      MemoryChannel.Client(channel, slice: 1), fuse: fuse, mountedAt: mount,
      outageMilliseconds: 200)
    forwarder.run(threads: 2)
    try shell("ls \(mount)")
  }

  /// The kernel drops a reply with an errno that it does not know, and its caller would hang.
  @Test func anErrnoThatDoesNotExistHangsNobody() throws {
    let lied = try Lied(
      Liar { request, bytes in
        // A mount needs one true word: version 7.36.
        guard request.opcode == FUSE_INIT.rawValue else { return Reply(-600) }
        return Liar.answer(bytes, request, version: (7, 36))
      })
    let code = try shell("timeout -s KILL 20 ls \(lied.mount) 2>/dev/null || echo $?")
    #expect(code == "2\n")
    try shell("umount -l \(lied.mount)")
    #expect(lied.ends())
  }

  /// The kernel keeps a mount whose FUSE_INIT failed: every look at it is an error, for ever.
  @Test func aRefusedMountEnds() throws {
    for lie: Liar.Answer in [
      { _, _ in Reply(-1) },
      { request, bytes in Liar.answer(bytes, request, error: -71) },
      { request, bytes in Liar.answer(bytes, request, version: (8, 0)) },
      { request, bytes in Reply(0, bytes: 3) },
      { request, bytes in Reply(0) },
    ] {
      let lied = try Lied(Liar(lie))
      #expect(lied.ends())
      #expect(try shell("ls \(lied.mount); grep -c \(lied.mount) /proc/mounts || true") == "0\n")
    }
  }

  /// On a file system of its own descriptors stay good when the service is replaced.
  @Test func descriptorsOutliveTheService() throws {
    let disk = try scratchFolder()
    try shell(
      """
      truncate -s 64M \(disk).img && mkfs.ext4 -q \(disk).img
      for d in 0 1 2 3 4 5 6 7; do
        test -b /dev/loop$d || mknod /dev/loop$d b 7 $d
      done
      mount -o loop \(disk).img \(disk)
      """)
    defer { _ = try? shell("umount \(disk); rm \(disk).img") }
    let it = try Mounted(export: disk)
    defer { it.end() }
    #expect(it.served.handler.nodes.areLasting)
    let file = open(it.mount + "/file", O_RDWR | O_CREAT, 0o644)
    defer { close(file) }
    #expect(write(file, "before ", 7) == 7)
    try shell("mkdir \(it.mount)/d && touch \(it.mount)/d/x")
    let reader = DispatchSemaphore(value: 0)
    try it.restart(returns: false)
    // Asked while nobody serves; answered by the next life.
    System.startThread {
      var byte: UInt8 = 0
      if pread(file, &byte, 1, 0) == 1, byte == UInt8(ascii: "b") { reader.signal() }
    }
    usleep(50_000)
    try it.comeBack()
    #expect(reader.wait(timeout: .now() + 30) == .success)
    #expect(write(file, "after", 5) == 5)
    #expect(fsync(file) == 0)
    try shell("test \"$(cat \(it.mount)/file)\" = 'before after' && test -e \(it.mount)/d/x")
    try shell("ls -l \(it.mount)/d && rm -r \(it.mount)/d \(it.mount)/file")
  }
}
