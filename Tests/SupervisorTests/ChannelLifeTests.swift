// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Supervisor

@Suite struct ChannelLifeTests {
  @Test func itIsMadeNewWhenBothHaveLetGo() {
    var life = ChannelLifeCycle(at: 100)
    #expect(life.nextLook(at: 100) == nil, "nobody looks at a channel that is sound")
    #expect(life.handle(.looked(haveLeft: true), at: 100) == [])
    #expect(life.handle(.declared(by: .service), at: 100) == [.announceFailure])
    #expect(!life.isSound)
    #expect(life.handle(.declared(by: .client), at: 100) == [])
    #expect(life.nextLook(at: 100) == 100.1)
    #expect(life.handle(.looked(haveLeft: false), at: 101) == [])
    #expect(life.handle(.looked(haveLeft: true), at: 101) == [.renew])
    #expect(life.isSound && life.renewals == 1)
  }

  @Test func aSideThatBreaksItAgainWaitsLonger() {
    var life = ChannelLifeCycle(at: 0)
    var now: Seconds = 0
    var pauses: [Seconds] = []
    for _ in 0..<12 {
      _ = life.handle(.declared(by: .client), at: now)
      let start = now
      while life.handle(.looked(haveLeft: true), at: now) != [.renew] { now += 0.05 }
      pauses.append(now - start)
    }
    #expect(pauses[0] == 0)
    #expect(zip(pauses, pauses.dropFirst()).allSatisfy { $0 <= $1 + 0.06 })
    #expect((9.9...10.1).contains(pauses[11]))
    // A long good life is forgiven.
    now += 60
    _ = life.handle(.declared(by: .client), at: now)
    #expect(life.handle(.looked(haveLeft: true), at: now) == [.renew])
  }

  @Test func aSideThatHoldsItIsNamedOnce() {
    var life = ChannelLifeCycle(at: 0)
    _ = life.handle(.declared(by: .client), at: 5)
    #expect(life.handle(.looked(haveLeft: false), at: 19) == [])
    #expect(life.handle(.looked(haveLeft: false), at: 20) == [.complain])
    #expect(life.handle(.looked(haveLeft: false), at: 30) == [])
    #expect(life.nextLook(at: 30) == 31, "and looked at more rarely")
    #expect(life.handle(.looked(haveLeft: true), at: 40) == [.renew])
  }

  @Test func aServiceThatHasLetGoOfALifeIsGivenAMoment() {
    var life = ChannelLifeCycle(at: 0)
    #expect(life.handle(.left(true), at: 1) == [])
    #expect(life.nextLook(at: 1) == 6, "nobody need ring")
    #expect(life.handle(.left(false), at: 3) == [])
    #expect(life.nextLook(at: 3) == nil, "it only looked too early")
    #expect(life.handle(.left(true), at: 4) == [] && life.handle(.left(true), at: 8) == [])
    #expect(life.handle(.left(true), at: 9) == [.announceFailure])
    #expect(life.handle(.left(true), at: 10) == [])
    #expect(life.handle(.looked(haveLeft: true), at: 10) == [.renew])
    #expect(life.handle(.left(true), at: 11) == [], "a new life, a new moment")
  }
}
