// SPDX-License-Identifier: Apache-2.0
import CGuest
import DeviceTree
import Glibc

/// Keeps daemons running, takes the exit status of every orphan, obeys the orders of process 1.
struct Supervision {
  private struct Kept {
    let daemon: Daemon
    var pid: Int32 = 0
    var started: UInt64 = 0
    var due: UInt64 = 0
    var pause: UInt64 = Supervision.firstPause
  }

  /// Milliseconds before a daemon that ended is started again; doubles each time.
  private static let firstPause: UInt64 = 100
  private static let longestPause: UInt64 = 10000
  /// One that ran so long is well: the next pause is the first again.
  private static let wellAfter: UInt64 = 60000

  private let domain: DomainDescription?
  private var kept: [Kept] = []
  private var shell: Int32 = 0
  private let withShell: Bool

  init(_ domain: DomainDescription?, withShell: Bool) {
    self.domain = domain
    self.withShell = withShell
  }

  mutating func start(_ daemons: [Daemon]) {
    for daemon in daemons {
      var new = Kept(daemon: daemon)
      Self.launch(&new)
      kept.append(new)
    }
  }

  private static let environment = [
    "PATH=/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin", "HOME=/root",
    "TERM=linux",
  ]

  private static func launch(_ one: inout Kept) {
    one.started = System.milliseconds()
    one.due = 0
    // SAFETY: `Words` keeps both lists until the program runs.
    one.pid = unsafe Words.with(one.daemon.arguments) { arguments in
      unsafe Words.with(environment) { environment in
        unsafe guest_start(Roles.program, arguments, environment, -1)
      }
    }
    if one.pid < 0 {
      System.log("cannot start \(one.daemon.name): errno \(-one.pid)")
      one.pid = 0
      one.due = one.started + longestPause
    }
  }

  /// Runs until the domain is powered off.
  mutating func loop() -> Never {
    var orders = sigset_t()
    // SAFETY: a local that each call fills or reads.
    unsafe sigemptyset(&orders)
    for number in [SIGCHLD, SIGUSR1, SIGUSR2, SIGTERM, SIGINT] { unsafe sigaddset(&orders, number) }
    while true {
      if withShell, shell <= 0 { startShell() }
      let now = System.milliseconds()
      for index in kept.indices where kept[index].pid == 0 && kept[index].due <= now {
        Self.launch(&kept[index])
      }
      var patience = timespec(tv_sec: 0, tv_nsec: 100_000_000)
      if kept.allSatisfy({ $0.pid != 0 }) { patience = timespec(tv_sec: 10, tv_nsec: 0) }
      // SAFETY: locals that outlive the call; no information is asked.
      switch unsafe sigtimedwait(&orders, nil, &patience) {
      // USR1 halts, USR2 powers off, TERM restarts in busybox's init; Ctrl-Alt-Del is INT.
      case SIGUSR1, SIGUSR2, SIGINT: Init.powerOff(mounts: domain.map(Roles.mounts) ?? [])
      case SIGTERM: Init.restart()
      default: reap()
      }
    }
  }

  private mutating func reap() {
    var status: Int32 = 0
    while true {
      // SAFETY: a local of the type that the call fills, which outlives it.
      let pid = unsafe waitpid(-1, &status, WNOHANG)
      if pid <= 0 { return }
      if pid == shell { shell = 0 }
      if let index = kept.firstIndex(where: { $0.pid == pid }) { note(index, status) }
    }
  }

  private mutating func note(_ index: Int, _ status: Int32) {
    let now = System.milliseconds()
    if now - kept[index].started >= Self.wellAfter { kept[index].pause = Self.firstPause }
    let how = status & 0x7f == 0 ? "code \(status >> 8 & 0xff)" : "signal \(status & 0x7f)"
    System.log(
      "\(kept[index].daemon.name) ended with \(how); again in \(kept[index].pause) ms")
    kept[index].pid = 0
    kept[index].due = now + kept[index].pause
    kept[index].pause = min(kept[index].pause * 2, Self.longestPause)
  }

  /// A shell on the console, for whoever put vos.shell on the kernel's command line.
  private mutating func startShell() {
    guard let console = Descriptor.open("/dev/console", O_RDWR | O_NOCTTY).descriptor else {
      return
    }
    // SAFETY: `Words` keeps both lists until the program runs.
    shell = unsafe Words.with(["-sh"]) { arguments in
      unsafe Words.with(Self.environment) { environment in
        unsafe guest_start("/bin/sh", arguments, environment, console.number)
      }
    }
  }
}
