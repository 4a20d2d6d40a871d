// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Channel
import Glibc

private let usage = """
  vosguest init                    process 1 of a domain
  vosguest agent NAME              serve a control channel, /dev/vos/NAME
  vosguest serve NAME [EXPORT]     serve sockets, or the files of EXPORT
  vosguest fs NAME MOUNT           mount a files channel
  vosguest counters [--json]       what went over each channel
  """

/// Becomes a domain's init if this is process 1; else returns.
public func runInitIfFirst() {
  if getpid() == 1 { Init.run() }
}

/// Runs the program by the name it was called by, or by its first argument.
public func runGuest(_ arguments: [String]) -> Never {
  signal(SIGPIPE, SIG_IGN)
  var words = arguments
  let name = words.isEmpty ? "" : lastComponent(words.removeFirst())
  var command = name
  if !["agent", "serve", "fs", "counters"].contains(name) {
    command = words.isEmpty ? "" : words.removeFirst()
  }
  exit(run(command, words))
}

private func lastComponent(_ path: String) -> String {
  String(path.split(separator: "/").last ?? "")
}

private func run(_ command: String, _ words: [String]) -> Int32 {
  switch (command, words.count) {
  case ("init", 0): fail("init is process 1, not \(getpid())")
  case ("agent", 1): runAgent(words[0])
  case ("serve", 1): serve(words[0], export: nil)
  case ("serve", 2): serve(words[0], export: words[1])
  case ("fs", 2): forward(words[0], mount: words[1])
  case ("counters", 0): Counters.print(asJSON: false)
  case ("counters", 1) where words[0] == "--json": Counters.print(asJSON: true)
  default: fail("usage:\n" + usage, code: 2)
  }
}

/// Says why, on standard error.
func fail(_ text: String, code: Int32 = 1) -> Int32 {
  System.log(text)
  return code
}

private func runAgent(_ name: String) -> Int32 {
  let (device, why) = ModuleService.open(name)
  guard let device, device.info.carries & VOS_CARRIES_CONTROL != 0 else {
    return fail(why.isEmpty ? "/dev/vos/\(name) is no control channel" : why)
  }
  guard let agent = Agent() else { return fail("cannot create an epoll") }
  guard ServiceLife.awaitBegin(device) else { return gone(name) }
  let loop = ServiceLoop(device, agent, threads: agentThreads, limits: Patience.none) { end in
    // What it started ends with it: nobody could ask about it any more.
    agent.died(0, generation: 0)
    exit(conclude(name, end))
  }
  agent.start(loop)
  return conclude(name, loop.run())
}

private func gone(_ name: String) -> Int32 { fail("/dev/vos/\(name) is gone") }

/// The code that process 1 sees; it starts the daemon again, for the channel's next life.
private let lifeEndedCode: Int32 = 3

private func conclude(_ name: String, _ end: ServiceLoop.End) -> Int32 {
  switch end {
  case .stopped, .deviceGone: gone(name)
  case .lifeEnded: fail("this life of channel \(name) is over", code: lifeEndedCode)
  case .broken(let fault):
    fail("channel \(name) was broken by its client: \(fault)", code: lifeEndedCode)
  }
}

/// Threads of a file service at most: one polls, the others may wait for a disk.
private let fileThreads = 17
/// The same of an agent, where programs that start may wait.
private let agentThreads = 4
/// Threads that carry requests of the kernel.
private let forwarderThreads = 8

private func serve(_ name: String, export: String?) -> Int32 {
  let (device, why) = ModuleService.open(name)
  guard let device else { return fail(why) }
  guard ServiceLife.awaitBegin(device) else { return gone(name) }
  if device.info.carries & VOS_CARRIES_SOCKETS != 0 {
    guard let service = SocketService(region: device.region) else {
      return fail("cannot create an epoll")
    }
    // Who may have an ICMP datagram socket is the client's kernel to say; here our group may.
    Descriptor.write("0 0", to: "/proc/sys/net/ipv4/ping_group_range")
    let loop = ServiceLoop(device, service) { exit(conclude(name, $0)) }
    service.start { loop.post($0) }
    return conclude(name, loop.run())
  } else if device.info.carries & VOS_CARRIES_FILES != 0 {
    guard let export else { return fail("serve \(name): the directory to export is missing") }
    guard let service = FuseService(region: device.region, export: export) else {
      return fail("cannot open the export \(export)")
    }
    let loop = ServiceLoop(device, service, threads: fileThreads) { exit(conclude(name, $0)) }
    return conclude(name, loop.run())
  }
  return fail("/dev/vos/\(name) carries neither sockets nor files")
}

private func forward(_ name: String, mount path: String) -> Int32 {
  let (device, why) = ModuleClient.open(name)
  guard let device else { return fail(why) }
  // Mounted at once, before anybody serves it: who looks earlier waits for the service. What a
  // forwarder that died has left is a mount that nobody answers for.
  FileForwarder.unmount(path)
  switch FileForwarder.mount(at: path, name: name) {
  case .failure(let error): return fail("cannot mount \(path): errno \(-error)")
  case .success(let fuse):
    FileForwarder(device, fuse: fuse, mountedAt: path).run(threads: forwarderThreads)
    return fail("\(path) is unmounted", code: 0)
  }
}
