// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxSystem
import SystemPackage
import Testing

@Suite struct DescriptorTests {
  @Test func openingWhatIsNotThereNamesThePath() {
    do throws(SystemCallError) {
      _ = try OwnedDescriptor.open("/nonexistent/file")
      Issue.record("opened a file that does not exist")
    } catch {
      #expect(error.errno == .noSuchFileOrDirectory)
      #expect(error.description.contains("/nonexistent/file"))
    }
  }

  @Test func goingOutOfScopeCloses() throws {
    let number: Int32
    do {
      let memory = try OwnedDescriptor.sharedMemory(name: "test", byteCount: 4096)
      number = memory.rawValue
      #expect(fcntl(number, F_GETFD) == FD_CLOEXEC)
    }
    #expect(fcntl(number, F_GETFD) == -1)
  }
}

@Suite struct SharedMemoryTests {
  @Test func twoMappingsSeeTheSameBytes() throws {
    let memory = try OwnedDescriptor.sharedMemory(name: "test", byteCount: 8192)
    let first = try SharedMapping(memory, byteCount: 8192)
    let second = try SharedMapping(memory, byteCount: 8192, writable: false)
    let written = first.copy([1, 2, 3].span, to: 8189)
    let seen = second.copy(from: 8189, count: 3)
    #expect(written)
    #expect(seen == [1, 2, 3])
  }

  @Test func rangesOutsideTheMappingAreRefused() throws {
    let memory = try OwnedDescriptor.sharedMemory(name: "test", byteCount: 4096)
    let mapping = try SharedMapping(memory, byteCount: 4096)
    let written = mapping.copy([1, 2].span, to: 4095)
    let before = mapping.copy(from: -1, count: 1)
    let beyond = mapping.copy(from: 1, count: Int.max)
    #expect(!written)
    #expect(before == nil)
    #expect(beyond == nil)
  }

  @Test func sizeIsSealed() throws {
    let memory = try OwnedDescriptor.sharedMemory(name: "test", byteCount: 4096)
    let result = ftruncate(memory.rawValue, 0)
    let reason = errno
    #expect(result == -1)
    #expect(reason == EPERM)
  }
}

@Suite struct EventTests {
  @Test func ringsAddUpAndAreTakenOnce() throws {
    let event = try EventDescriptor()
    event.ring()
    event.ring()
    let taken = [event.take(), event.take()]
    #expect(taken == [2, 0])
  }

  @Test func epollTellsTheToken() throws {
    let event = try EventDescriptor()
    let epoll = try Epoll()
    try epoll.add(event.descriptor.rawValue, interest: .readable, token: 42)
    let before = try epoll.wait(timeoutMilliseconds: 0)
    event.ring()
    let after = try epoll.wait(timeoutMilliseconds: 1000)
    #expect(before.isEmpty)
    #expect(after.map(\.token) == [42])
  }
}

@Suite struct MessageSocketTests {
  @Test func descriptorsTravelWithTheirMessage() throws {
    let pair = try MessageSocket.pair()
    let event = try EventDescriptor()
    try pair.first.send([7, 8], descriptors: [event.descriptor.rawValue])
    guard let message = try pair.second.receive() else {
      Issue.record("no message came")
      return
    }
    let bytes = message.bytes
    let descriptors = message.descriptors
    #expect(bytes == [7, 8])
    #expect(descriptors.count == 1)
    guard let number = descriptors.take(0) else {
      Issue.record("no descriptor came")
      return
    }
    EventDescriptor(owning: number).ring()
    let rings = event.take()
    #expect(rings == 1)
    let again = descriptors.take(0) == nil
    let other = descriptors.take(1) == nil
    #expect(again && other)
  }

  @Test func anOverlongMessageIsAnErrorNotACut() throws {
    let pair = try MessageSocket.pair()
    try pair.first.send([UInt8](repeating: 1, count: 100))
    #expect(throws: SystemCallError.self) { _ = try pair.second.receive(maximum: 10) }
  }

  @Test func theOtherEndGoneIsNil() throws {
    let pair = try MessageSocket.pair()
    let result = shutdown(number(of: pair.first), Int32(SHUT_RDWR))
    #expect(result == 0)
    let ended = try pair.second.receive() == nil
    #expect(ended)
  }
}

private func number(of socket: borrowing MessageSocket) -> Int32 {
  socket.descriptor.rawValue
}

@Suite struct PidDescriptorTests {
  @Test func aSignalledChildIsReaped() throws {
    var child: pid_t = 0
    let arguments = [strdup("sleep"), strdup("60"), nil]
    defer { for argument in arguments { free(argument) } }
    #expect(posix_spawnp(&child, "sleep", nil, nil, arguments, environ) == 0)
    let process = try PidDescriptor(child)
    let running = try process.reap(block: false)
    #expect(running == nil)
    try process.send(signal: SIGKILL)
    let exit = try process.reap(block: true)
    #expect(exit == .signal(SIGKILL))
    try process.send(signal: SIGKILL)
  }
}
