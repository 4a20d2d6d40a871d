// SPDX-License-Identifier: Apache-2.0
import CGuest
import DeviceTree
import Glibc

/// Process 1 of a domain: sets it up as its device tree says, keeps its daemons running, and powers
/// it off when told to.
enum Init {
  static func run() -> Never {
    _ = setsid()
    blockSignals()
    Setup.mounts()
    Setup.console()
    Setup.kernelSettings()
    let words = Setup.commandLine()
    guard let domain = Setup.description() else {
      System.log("there is no device tree for this domain")
      if words.contains("vos.shell") { shellOnly() }
      restart()
    }
    System.log("domain \(domain.domain) of system \(domain.system), life \(domain.generation)")
    Setup.modules(domain)
    Setup.identity(domain)
    var supervisor = Supervision(domain, withShell: words.contains("vos.shell"))
    guard let daemons = Roles.prepare(domain) else {
      if words.contains("vos.shell") { shellOnly() }
      restart()
    }
    supervisor.start(daemons)
    Roles.awaitMounts(domain)
    Roles.tellMounts(domain)
    supervisor.start(Roles.agents(domain))
    supervisor.loop()
  }

  /// What process 1 waits for: a child's end, and orders (as busybox's init takes them).
  static func blockSignals() {
    var signals = sigset_t()
    // SAFETY: a local that all three calls fill or read.
    unsafe sigemptyset(&signals)
    for number in [SIGCHLD, SIGUSR1, SIGUSR2, SIGTERM, SIGINT] {
      unsafe sigaddset(&signals, number)
    }
    unsafe sigprocmask(SIG_BLOCK, &signals, nil)
  }

  /// Somebody asked for a shell and the domain cannot start: let them look.
  private static func shellOnly() -> Never {
    var supervisor = Supervision(nil, withShell: true)
    supervisor.loop()
  }

  /// The host sees a reset, and counts it as a failure of this life.
  static func restart() -> Never {
    sync()
    kernel(Int(SYS_reboot), 0xfee1_dead, 0x2812_1969, 0x0123_4567)
    while true { pause() }
  }

  /// Orderly: programs end, file systems are written and unmounted.
  static func powerOff(mounts: [String]) -> Never {
    System.log("powering off")
    sync()
    _ = kill(-1, SIGTERM)
    System.sleep(milliseconds: 300)
    for path in mounts { FileForwarder.unmount(path) }
    _ = kill(-1, SIGKILL)
    while waitpid(-1, nil, WNOHANG) > 0 {}
    for path in mounts {
      for _ in 0..<20 {
        // The killed daemons may hold it for a moment.
        // SAFETY: the string is NUL-terminated and outlives the call.
        let result = unsafe path.withCString { unsafe kernel(Int(SYS_umount2), address($0), 0) }
        if result != Failure.busy { break }
        System.sleep(milliseconds: 50)
      }
    }
    sync()
    kernel(Int(SYS_reboot), 0xfee1_dead, 0x2812_1969, 0x4321_fedc)
    while true { pause() }
  }
}
