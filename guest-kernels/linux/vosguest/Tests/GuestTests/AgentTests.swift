// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Channel
import Foundation
import Testing

@testable import Guest

@Suite(.serialized) struct AgentTests {
  private let served: Served<Agent>
  private let caller: Caller

  init() throws {
    guard let channel = MemoryChannel(carries: VOS_CARRIES_CONTROL) else { throw Missing() }
    channel.giveOut(0)
    served = try Served(channel, threads: 3) { _ in Agent() }
    served.handler.start(served.loop)
    caller = Caller(channel)
  }

  private func execute(
    _ arguments: [String], environment: [String] = ["PATH=/usr/bin:/bin"], uid: UInt32 = 0
  ) throws -> Caller.Answer {
    var head = vos_exec(
      argument_count: UInt32(arguments.count), environment_count: UInt32(environment.count),
      uid: uid, gid: uid)
    let words: [UInt8] = (arguments + environment).flatMap { Array($0.utf8) + [0] as [UInt8] }
    return try caller.call(
      VOS_CALL_EXEC, data: withUnsafeBytes(of: &head) { Array($0) } + words)
  }

  private func readAll(_ object: UInt64, _ stream: UInt64 = 1) throws -> String {
    var bytes: [UInt8] = []
    while true {
      let answer = try caller.call(VOS_CALL_EXEC_READ, object, (stream, 0, 0), room: 4096)
      guard answer.result > 0 else { return String(decoding: bytes, as: UTF8.self) }
      bytes += answer.bytes
    }
  }

  @Test func aProgramRuns() throws {
    defer { served.stop() }
    let object = UInt64(try execute(["sh", "-c", "echo out; echo err >&2; exit 3"]).result)
    #expect(try readAll(object) == "out\n")
    #expect(try readAll(object, 2) == "err\n")
    #expect(try caller.call(VOS_CALL_EXEC_WAIT, object).result == 3 << 8)
    #expect(try caller.call(VOS_CALL_EXEC_WAIT, object).result == 3 << 8)
    #expect(try caller.call(VOS_CALL_CLOSE, object).result == 0)
    #expect(try caller.call(VOS_CALL_EXEC_WAIT, object).result == -9)
  }

  @Test func inputReachesIt() throws {
    defer { served.stop() }
    let object = UInt64(try execute(["cat"]).result)
    #expect(try caller.call(VOS_CALL_EXEC_WRITE, object, data: Array("abc".utf8)).result == 3)
    #expect(
      try caller.call(VOS_CALL_EXEC_READ, object, (1, 0, 0), room: 9).bytes == Array("abc".utf8))
    // Parked until the program writes.
    let parked = try caller.post(VOS_CALL_EXEC_READ, object, (1, 0, 0), room: 9)
    usleep(20000)
    #expect(!caller.isDone(parked))
    #expect(try caller.call(VOS_CALL_EXEC_READ, object, (1, 0, 0), room: 9).result == -16)
    #expect(try caller.call(VOS_CALL_EXEC_WRITE, object, data: [120]).result == 1)
    #expect(try caller.wait(parked).bytes == [120])
    #expect(try caller.call(VOS_CALL_EXEC_WRITE, object).result == 0)
    #expect(try readAll(object) == "")
    #expect(try caller.call(VOS_CALL_EXEC_WAIT, object).result == 0)
    #expect(try caller.call(VOS_CALL_EXEC_WRITE, object, data: [1]).result == -32)
  }

  @Test func signalsEndIt() throws {
    defer { served.stop() }
    let object = UInt64(try execute(["sleep", "1000"]).result)
    let parked = try caller.post(VOS_CALL_EXEC_WAIT, object)
    usleep(20000)
    #expect(!caller.isDone(parked))
    #expect(try caller.call(VOS_CALL_EXEC_SIGNAL, object, (15, 0, 0)).result == 0)
    #expect(try caller.wait(parked).result == 15)
    #expect(try caller.call(VOS_CALL_EXEC_SIGNAL, object, (0, 0, 0)).result == -22)
    #expect(try caller.call(VOS_CALL_EXEC_SIGNAL, object, (15, 0, 0)).result == -3)
  }

  @Test(.enabled(if: geteuid() == 0, "needs root"))
  func identityAndEnvironment() throws {
    defer { served.stop() }
    let object = UInt64(
      try execute(
        ["sh", "-c", "id -u; id -g; id -G; echo $A; echo ${LD_PRELOAD:-none}"],
        environment: ["A=b c", "VOS_FAST=0"], uid: 65534
      ).result)
    #expect(try readAll(object) == "65534\n65534\n65534\nb c\nnone\n")
  }

  @Test func failuresAreTold() throws {
    defer { served.stop() }
    #expect(try execute(["/does/not/exist"]).result == -2)
    #expect(try execute(["/etc/passwd"]).result == -13)
    #expect(try caller.call(VOS_CALL_EXEC, data: [1, 2, 3]).result == -22)
    var head = vos_exec(argument_count: 5, environment_count: 0, uid: 0, gid: 0)
    let bytes = withUnsafeBytes(of: &head) { Array($0) }
    #expect(try caller.call(VOS_CALL_EXEC, data: bytes + [65, 0, 66]).result == -22)
    head.argument_count = .max
    let many = withUnsafeBytes(of: &head) { Array($0) }
    #expect(try caller.call(VOS_CALL_EXEC, data: many + [65, 0]).result == -22)
  }

  @Test func nothingGrowsWhenTheHostForgets() throws {
    defer { served.stop() }
    for _ in 0..<100 {
      let object = UInt64(try execute(["true"]).result)
      #expect(try caller.call(VOS_CALL_EXEC_WAIT, object).result == 0)
    }
    #expect(served.handler.state.withLock { $0.processes.count } <= Agent.limit)
  }

  /// Those that run on are bounded too, and their ends are taken notice of.
  @Test func forgottenProgramsAreBounded() throws {
    defer { served.stop() }
    for _ in 0..<Agent.leavingLimit {
      let object = UInt64(try execute(["sleep", "1000"]).result)
      #expect(try caller.call(VOS_CALL_CLOSE, object).result == 0)
    }
    #expect(try execute(["true"]).result == -11)
    let leaving = served.handler.state.withLock { state in
      state.leaving.numbers.compactMap { state.leaving[$0]?.pid }
    }
    #expect(leaving.count == Agent.leavingLimit)
    for pid in leaving { kill(pid, SIGKILL) }
    // Reaped: not even a zombie has the number.
    for pid in leaving { while kill(pid, 0) == 0 { usleep(1000) } }
    while served.handler.state.withLock({ $0.leaving.count }) > 0 { usleep(1000) }
    let object = UInt64(try execute(["true"]).result)
    #expect(try caller.call(VOS_CALL_EXEC_WAIT, object).result == 0)
  }

  /// An end of which somebody else was told is not asked for again and again.
  @Test func anEndThatIsLostIsToldOnce() throws {
    defer { served.stop() }
    let object = UInt64(try execute(["sleep", "0.1"]).result)
    let parked = try caller.post(VOS_CALL_EXEC_WAIT, object)
    // Under the lock, so that the agent comes too late.
    served.handler.state.withLock { state in
      var status: Int32 = 0
      let pid = state.processes[object]?.pid ?? -1
      while waitpid(pid, &status, 0) < 0, errno == EINTR {}
    }
    #expect(try caller.wait(parked).result == 255 << 8)
  }

  /// A program that empties its own output keeps it ready with nothing to read.
  @Test func whoReadsItsOwnOutputStarvesNobody() throws {
    defer { served.stop() }
    let thief = """
      exec 3< /proc/self/fd/1
      while :; do echo x; head -c 2 <&3 > /dev/null; done
      """
    let object = UInt64(try execute(["sh", "-c", thief]).result)
    let other = UInt64(try execute(["sh", "-c", "sleep 0.3; echo done"]).result)
    let output = try caller.post(VOS_CALL_EXEC_READ, other, (1, 0, 0), room: 9)
    #expect(try caller.wait(output).bytes == Array("done\n".utf8))
    #expect(try caller.call(VOS_CALL_EXEC_READ, object, (1, 0, 0), room: 0).result == -22)
    #expect(try caller.call(VOS_CALL_EXEC_SIGNAL, object, (9, 0, 0)).result == 0)
    #expect(try caller.call(VOS_CALL_EXEC_WAIT, object).result == 9)
  }

  @Test func anotherHostFindsNothing() throws {
    defer { served.stop() }
    let object = UInt64(try execute(["sleep", "1000"]).result)
    served.channel.giveOut(0, generation: 2)
    while served.channel.region.releasedGeneration(slice: 0) != 1 { usleep(1000) }
    #expect(served.handler.state.withLock { $0.processes.count } == 0)
    #expect(try caller.call(VOS_CALL_EXEC_WAIT, object).result == -9)
  }
}
