// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Supervisor

@Suite struct DomainLifeCycleTests {
  private func booting() -> DomainLifeCycle {
    var life = DomainLifeCycle(limits: .init(boot: 60, powerOff: 30, stop: 5))
    #expect(life.handle(.start, at: 0) == [.launch(generation: 1)])
    return life
  }

  private func ready() -> DomainLifeCycle {
    var life = booting()
    #expect(life.handle(.announced, at: 9) == [.becameReady(bootSeconds: 9)])
    return life
  }

  @Test func aDomainBootsAndPowersOffWhenAsked() {
    var life = ready()
    #expect(life.handle(.stop, at: 20) == [.askPowerOff])
    #expect(life.handle(.reported(.guestPowerOff), at: 21) == [])
    #expect(life.handle(.ended(.code(0)), at: 22) == [.announceAbsence])
    #expect(life.state == .stopped)
    #expect(life.deadline == nil)
  }

  @Test func stoppingGetsRuderUntilTheMonitorIsGone() {
    var life = ready()
    _ = life.handle(.stop, at: 100)
    #expect(life.deadline == 130)
    #expect(life.handle(.tick, at: 129) == [])
    #expect(life.handle(.tick, at: 130) == [.tellStop])
    #expect(life.handle(.tick, at: 135) == [.kill])
    #expect(life.handle(.tick, at: 140) == [.kill])
    #expect(life.handle(.ended(.signal(9)), at: 141) == [.announceAbsence])
    #expect(life.state == .stopped)
  }

  @Test func aBootingDomainHasNoAgentToAsk() {
    var life = booting()
    #expect(life.handle(.stop, at: 1) == [.tellStop])
    #expect(life.handle(.tick, at: 6) == [.kill])
  }

  @Test func aDomainThatNeverAnnouncesItselfFails() {
    var life = booting()
    let reason = "it did not announce itself within 60 s"
    #expect(life.handle(.tick, at: 60) == [.announceFailure(reason), .kill])
    #expect(life.isAlive)
    #expect(life.handle(.ended(.signal(9)), at: 61) == [])
    #expect(life.state == .failed(reason: reason))
  }

  @Test(arguments: [
    (MonitorReport.guestPanic, ProcessEnd.code(3), "its kernel panicked"),
    (.guestReset, .code(2), "it reset itself"),
    (.failed("no such kernel"), .code(1), "no such kernel"),
    (.running, .code(4), "its monitor ended with code 4"),
    (.running, .signal(9), "its monitor was killed by signal 9"),
    (.running, .signal(31), "its monitor made a system call it must not make"),
    (.guestPanic, .signal(31), "its monitor made a system call it must not make"),
    (.running, .unknown, "its monitor is gone"),
  ])
  func failuresAreExplained(_ report: MonitorReport, _ end: ProcessEnd, _ reason: String) {
    var life = ready()
    _ = life.handle(.reported(report), at: 10)
    #expect(life.handle(.ended(end), at: 11) == [.announceFailure(reason)])
    #expect(life.state == .failed(reason: reason))
  }

  @Test func powerOffIsNoFailureOnceReady() {
    var life = ready()
    #expect(life.handle(.ended(.code(0)), at: 10) == [.announceAbsence])
    #expect(life.state == .stopped)
    var early = booting()
    _ = early.handle(.ended(.code(0)), at: 10)
    #expect(early.state == .failed(reason: "it powered off before it announced itself"))
  }

  @Test func eachLifeHasItsGeneration() {
    var life = ready()
    _ = life.handle(.reported(.guestPanic), at: 10)
    _ = life.handle(.ended(.code(3)), at: 10)
    #expect(life.handle(.start, at: 11) == [.launch(generation: 2)])
    // The last life's words do not explain this one's end.
    _ = life.handle(.ended(.signal(6)), at: 12)
    #expect(life.state == .failed(reason: "its monitor was killed by signal 6"))
  }

  @Test func eventsOutOfPlaceChangeNothing() {
    var life = DomainLifeCycle()
    for event: DomainLifeCycle.Event in [
      .announced, .ended(.code(0)), .tick, .reported(.guestPanic),
    ] {
      #expect(life.handle(event, at: 0) == [])
    }
    #expect(life.state == .created)
    #expect(life.handle(.stop, at: 0) == [])
    #expect(life.state == .stopped)
    var running = ready()
    #expect(running.handle(.start, at: 1) == [])
    #expect(running.handle(.announced, at: 1) == [])
  }
}

@Suite struct MonitorReportTests {
  @Test func linesAreRead() {
    #expect(MonitorReport(Array("running".utf8)) == .running)
    #expect(MonitorReport(Array("guest-panic".utf8)) == .guestPanic)
    #expect(MonitorReport(Array("failed no kernel\n".utf8)) == .failed("no kernel"))
    #expect(MonitorReport(Array("device-error 0000:01:00.0".utf8)) == .deviceError("0000:01:00.0"))
  }

  @Test func statisticsAreSummed() {
    let words = "statistics cpu0.exits=1 cpu1.exits=18446744073709551615 cpu0.io_exits=x =3 a.b.c"
    guard case .statistics(let counts)? = MonitorReport(Array(words.utf8)) else {
      Issue.record("not statistics")
      return
    }
    #expect(counts.exits == 0 && counts.io == 0)
  }

  @Test func hostileLinesAreTamed() {
    #expect(MonitorReport([]) == nil)
    #expect(MonitorReport([0xff, 0xfe]) == nil)
    #expect(MonitorReport(Array("frobnicate".utf8)) == nil)
    #expect(MonitorReport(Array("failed \u{1b}[2Jx".utf8)) == .failed("[2Jx"))
    guard
      case .failed(let text)? = MonitorReport(
        Array(("failed " + String(repeating: "x", count: 9999)).utf8))
    else { return #expect(Bool(false)) }
    #expect(text.count < 600)
  }
}

@Suite struct SystemLifeCycleTests {
  private func starting() -> SystemLifeCycle {
    var system = SystemLifeCycle(domains: ["net", "desk", "disk"], primary: "desk")
    #expect(system.handle(.prepared) == [.startAll])
    return system
  }

  private func running() -> SystemLifeCycle {
    var system = starting()
    #expect(system.handle(.domain("net", .ready)) == [])
    #expect(system.handle(.domain("disk", .ready)) == [])
    #expect(system.handle(.domain("desk", .ready)) == [.announceUp])
    return system
  }

  @Test func thePrimaryGoesDownFirst() {
    var system = running()
    #expect(system.handle(.stop) == [.stop(["desk"])])
    #expect(system.handle(.domain("desk", .pending)) == [])
    #expect(system.handle(.domain("desk", .gone)) == [.stop(["net", "disk"])])
    #expect(system.handle(.domain("net", .gone)) == [])
    #expect(system.handle(.domain("disk", .gone)) == [.release])
    #expect(system.handle(.released) == [.exit(.asked)])
    #expect(system.state == .ended(.asked))
  }

  @Test func aFailureOnTheWayUpUndoesEverything() {
    var system = starting()
    _ = system.handle(.domain("net", .ready))
    let outcome = SystemLifeCycle.Outcome.failed(
      "domain \"disk\" failed: it reset itself; read above what its console said last, if "
        + "anything, or keep more of it with \"vosctl up --log-file FILE\"")
    #expect(system.handle(.domain("disk", .failed("it reset itself"))) == [.stop(["desk"])])
    #expect(system.handle(.domain("desk", .gone)) == [.stop(["net", "disk"])])
    #expect(system.handle(.domain("net", .gone)) == [.release])
    #expect(system.handle(.released) == [.exit(outcome)])
  }

  @Test func aFailureLaterLeavesTheOthersRunning() {
    var system = running()
    #expect(system.handle(.domain("net", .failed("its kernel panicked"))) == [])
    #expect(system.state == .running)
    #expect(system.handle(.stop) == [.stop(["desk"])])
    _ = system.handle(.domain("desk", .gone))
    #expect(system.handle(.domain("disk", .gone)) == [.release])
  }

  @Test func cancellingCountsOnlyOnTheWayUp() {
    var system = running()
    #expect(system.handle(.cancel) == [])
    var early = SystemLifeCycle(domains: ["desk"], primary: "desk")
    #expect(early.handle(.cancel) == [.release])
    #expect(early.handle(.prepared) == [])
    #expect(early.handle(.released) == [.exit(.cancelled)])
  }

  @Test func aFailedPreparationStartsNothing() {
    var system = SystemLifeCycle(domains: ["desk"], primary: "desk")
    #expect(system.handle(.failed("no /dev/kvm")) == [.release])
    #expect(system.handle(.stop) == [])
    #expect(system.handle(.released) == [.exit(.failed("no /dev/kvm"))])
  }

  @Test func strangersDoNotCount() {
    var system = starting()
    #expect(system.handle(.domain("nobody", .ready)) == [])
    #expect(system.handle(.released) == [])
  }
}
