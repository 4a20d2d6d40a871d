// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Channel
import Glibc
import LaunchPlan
import LinuxSystem

// Stands in for vosvmm and the guest in it, for tests of vosd and vosctl without KVM: takes the
// launch plan, speaks on the console, and serves the control channel as a domain's agent would.
//
// The kernel command line says how it behaves: "silent" never announces itself, "panic" and "exit"
// end it at once, "deaf" ignores power-off, "chatty" fills its standard error.

/// One domain pretended.
final class FakeGuest {
  let plan: LaunchPlan
  let launch: MessageSocket
  let console: OwnedDescriptor
  let mapping: SharedMapping
  let bell: OwnedDescriptor
  let hostBells: [Int32]
  var port: ServicePort
  let words: [Substring]

  init(_ launch: consuming MessageSocket) throws {
    guard let message = try launch.receive() else { exit(1) }
    plan = try LaunchPlan(decoding: message.bytes, descriptorCount: message.descriptors.count)
    guard let control = plan.ivshmem.first,
      let console = message.descriptors.take(plan.console),
      let region = message.descriptors.take(control.region),
      let bell = message.descriptors.take(control.vectors[0])
    else { exit(1) }
    self.console = console
    self.bell = bell
    mapping = try SharedMapping(region, byteCount: Int(control.regionBytes))
    hostBells = control.remotes.flatMap(\.vectors).compactMap {
      message.descriptors.take($0)?.release()
    }
    // SAFETY: the mapping lives as long as this object.
    port = ServicePort(
      region: try unsafe ChannelRegion(
        mappedAt: mapping.baseAddress, byteCount: mapping.byteCount))
    words = plan.commandLine.split(separator: " ")
    self.launch = launch
  }

  func ringHost() {
    for bell in hostBells {
      var one: UInt64 = 1
      // SAFETY: eight bytes of a local.
      _ = unsafe write(bell, &one, 8)
    }
  }

  func say(_ text: String) { try? console.write(all: Array(text.utf8)) }

  func report(_ text: String) { try? launch.send(Array(text.utf8)) }

  func run() throws -> Int32 {
    report("running")
    say("console of \(plan.domain), \(plan.vcpuCount) cpus\r\n")
    if words.contains("panic") {
      say("Kernel panic - not syncing: asked for\r\n")
      report("guest-panic")
      return 3
    }
    if words.contains("exit") { return 4 }
    if words.contains("chatty") { chatter() }
    let epoll = try Epoll()
    try epoll.add(bell.rawValue, interest: .readable, token: 1)
    try epoll.add(launch.descriptor.rawValue, interest: .readable, token: 2)
    try epoll.add(console.rawValue, interest: .readable, token: 3)
    if !words.contains("silent") {
      port.region.page(of: .service).announce(.ready, generation: 1)
      ringHost()
    }
    while true {
      for event in try epoll.wait(timeoutMilliseconds: 20) {
        switch event.token {
        case 1: _ = try? bell.read(maximum: 8)
        case 2:
          guard let message = try launch.receive() else {
            // vosd is gone: go on without it.
            try epoll.remove(launch.descriptor.rawValue)
            continue
          }
          if message.bytes == Array("stop".utf8) { return 0 }
          if message.bytes == Array("statistics".utf8) {
            report("statistics cpu0.exits=40 cpu0.io_exits=7 cpu1.exits=2 cpu1.odd=9")
          }
        default:
          let typed = try console.read(maximum: 4096)
          if typed.isEmpty {
            try epoll.remove(console.rawValue)
          } else {
            try console.write(all: typed)
          }
        }
      }
      while port.nextChange() != nil {}
      while let request = port.next() {
        if let code = serve(request) { return code }
      }
    }
  }

  /// Four megabytes on standard error, as a monitor might whose guest has a hand in its log.
  func chatter() {
    let line =
      Array("chatter \u{1b}[2J of \(plan.domain) ".utf8) + [UInt8](repeating: 0x2e, count: 220)
    for _ in 0..<16_000 {
      // SAFETY: the bytes are read during the call only.
      _ = unsafe write(STDERR_FILENO, line + [0x0a], line.count + 1)
    }
  }

  /// Answers a call; a code ends the guest.
  func serve(_ request: Request) -> Int32? {
    var result: Int64 = -38  // ENOSYS
    var length: UInt32 = 0
    switch UInt32(request.call.number) {
    case VOS_CALL_POWEROFF where !words.contains("deaf"):
      finish(request, Reply(result: 0))
      say("power off\r\n")
      report("guest-poweroff")
      return 0
    case VOS_CALL_EXEC:
      // SAFETY: the window was checked; its bytes are copied at once.
      let data = unsafe Array(port.bytes(request).prefix(Int(request.call.data.length)))
      let program = data.dropFirst(16).prefix { $0 != 0 }
      result = program.elementsEqual("nothing".utf8) ? -2 : 7
      lying = program.elementsEqual("liar".utf8)
    case VOS_CALL_EXEC_READ:
      // Standard output says so once; standard error stays empty.
      if lying {
        result = 5
      } else if request.call.arguments.0 == 1, !spoken {
        spoken = true
        let text = Array("hello from \(plan.domain)\n".utf8)
        // SAFETY: the window was checked and has room for the text.
        unsafe port.bytes(request).copyBytes(from: text)
        result = Int64(text.count)
        length = UInt32(text.count)
      } else {
        result = 0
      }
    case VOS_CALL_EXEC_WAIT: result = 5 << 8
    case VOS_CALL_CLOSE:
      spoken = false
      result = 0
    default: break
    }
    finish(request, Reply(result: result, dataLength: length))
    return nil
  }

  var spoken = false
  /// Says that there is output, and gives none.
  var lying = false

  func finish(_ request: Request, _ reply: Reply) {
    if port.complete(request, reply) { ringHost() }
  }
}

do {
  exit(try FakeGuest(MessageSocket(owning: OwnedDescriptor(owning: 3))).run())
} catch {
  exit(1)
}
