// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Channel
import Foundation

@testable import Guest

/// A service over memory, with its loop on threads of its own.
final class Served<Handler: ServiceHandler>: @unchecked Sendable {
  // @unchecked: set up before it is shared.
  let channel: MemoryChannel
  let handler: Handler
  let loop: ServiceLoop
  private let ended = DispatchSemaphore(value: 0)

  init(
    _ channel: MemoryChannel, threads: Int = 1, idleSeconds: Int = 10,
    _ make: (ChannelRegion) -> Handler?
  ) throws {
    self.channel = channel
    guard let handler = make(channel.region) else { throw Missing() }
    self.handler = handler
    loop = ServiceLoop(
      MemoryChannel.Service(channel), handler, threads: threads, idleSeconds: idleSeconds)
    let (loop, ended) = (loop, ended)
    System.startThread {
      loop.run()
      ended.signal()
    }
  }

  func stop() {
    loop.stop()
    channel.ringService()
    ended.wait()
  }
}

struct Missing: Error {}

func the<T>(_ value: T?) throws -> T {
  guard let value else { throw Missing() }
  return value
}

/// One caller on a slice: posts a call with data, waits for its reply.
final class Caller {
  let device: MemoryChannel.Client
  private let client: SliceClient

  init(_ channel: MemoryChannel, slice: Int = 0) {
    device = MemoryChannel.Client(channel, slice: slice)
    client = SliceClient(slice: device.slice, shape: device.shape)
  }

  struct Answer {
    let result: Int
    let bytes: [UInt8]
  }

  func post(
    _ number: UInt32, _ object: UInt64 = 0, _ arguments: (UInt64, UInt64, UInt64) = (0, 0, 0),
    data: [UInt8] = [], room: Int = 0
  ) throws -> Ticket {
    guard let slot = client.takeSlot() else { throw Missing() }
    var window = client.window(of: slot)
    client.bytes(window).copyBytes(from: data)
    window.length = UInt32(data.count)
    window.capacity = UInt32(room)
    let ticket = client.submit(
      Call(UInt16(number), object: object, arguments: arguments, data: window), in: slot)
    if client.mustRing { device.ring() }
    return ticket
  }

  func isDone(_ ticket: Ticket) -> Bool { client.poll(ticket) != nil }

  func wait(_ ticket: Ticket) throws -> Answer {
    // Only a lost answer takes that long.
    for _ in 0..<200_000 {
      if let reply = client.spin(ticket, SpinPolicy(spins: 100)) {
        let bytes = client.bytes(client.window(of: ticket.slot))
        let data = [UInt8](bytes.prefix(Int(reply.dataLength)))
        client.giveBack(ticket.slot)
        return Answer(result: Int(reply.result), bytes: data)
      }
      usleep(100)
    }
    throw Missing()
  }

  @discardableResult
  func call(
    _ number: UInt32, _ object: UInt64 = 0, _ arguments: (UInt64, UInt64, UInt64) = (0, 0, 0),
    data: [UInt8] = [], room: Int = 0
  ) throws -> Answer {
    try wait(post(number, object, arguments, data: data, room: room))
  }
}

/// Runs a shell script; its output, and an error if it fails.
@discardableResult
func shell(_ script: String) throws -> String {
  let process = Foundation.Process()
  process.executableURL = URL(fileURLWithPath: "/bin/bash")
  process.arguments = ["-euc", script]
  let pipe = Pipe()
  process.standardOutput = pipe
  process.standardError = pipe
  try process.run()
  let output = String(decoding: pipe.fileHandleForReading.readDataToEndOfFile(), as: UTF8.self)
  process.waitUntilExit()
  guard process.terminationStatus == 0 else { throw ScriptFailed(output: output) }
  return output
}

struct ScriptFailed: Error { let output: String }

func scratchFolder() throws -> String {
  let path = NSTemporaryDirectory() + "vosguest-" + UUID().uuidString
  try FileManager.default.createDirectory(atPath: path, withIntermediateDirectories: true)
  return path
}

/// A service that answers FUSE messages as it likes.
final class Liar: ServiceHandler {
  typealias Answer = @Sendable (fuse_in_header, UnsafeMutableRawBufferPointer) -> Reply

  private let answer: Answer

  init(_ answer: @escaping Answer) { self.answer = answer }

  func mayBlock(_ call: Call) -> Bool { false }

  func handle(_ request: Request, _ bytes: UnsafeMutableRawBufferPointer) -> Reply? {
    answer(bytes.loadUnaligned(as: fuse_in_header.self), bytes)
  }

  func adopted(_ slice: Int, generation: UInt32) {}
  func died(_ slice: Int, generation: UInt32) {}

  /// A whole reply to FUSE_INIT.
  static func answer(
    _ bytes: UnsafeMutableRawBufferPointer, _ request: fuse_in_header, error: Int32 = 0,
    version: (UInt32, UInt32) = (7, 36)
  ) -> Reply {
    let headBytes = MemoryLayout<fuse_out_header>.size
    var out = fuse_init_out()
    (out.major, out.minor) = version
    let length = error == 0 ? headBytes + MemoryLayout<fuse_init_out>.size : headBytes
    let head = fuse_out_header(len: UInt32(length), error: error, unique: request.unique)
    bytes.storeBytes(of: head, as: fuse_out_header.self)
    bytes.storeBytes(of: out, toByteOffset: headBytes, as: fuse_init_out.self)
    return Reply(0, bytes: length)
  }
}

/// A mount that a `Liar` serves.
final class Lied {
  let mount: String
  private let served: Served<Liar>
  private let ended = DispatchSemaphore(value: 0)

  init(_ liar: Liar) throws {
    let channel = try the(MemoryChannel(carries: VOS_CARRIES_FILES))
    channel.giveOut(1)
    mount = try scratchFolder()
    served = try Served(channel) { _ in liar }
    let fuse = try the(FileForwarder.mount(at: mount, name: "test").descriptor)
    let forwarder = FileForwarder(
      MemoryChannel.Client(channel, slice: 1), fuse: fuse, mountedAt: mount)
    let ended = ended
    System.startThread {
      forwarder.run(threads: 1)
      ended.signal()
    }
  }

  /// Whether the forwarder ends by itself; long before a lost one would be noticed.
  func ends() -> Bool { ended.wait(timeout: .now() + 20) == .success }

  deinit {
    _ = try? shell("umount -l \(mount) 2>/dev/null || true")
    served.stop()
  }
}

/// Numbers that are the same in each run (xorshift).
struct SeededGenerator: RandomNumberGenerator {
  private var state: UInt64

  init(_ seed: UInt64) { state = seed | 1 }

  mutating func next() -> UInt64 {
    state ^= state << 13
    state ^= state >> 7
    state ^= state << 17
    return state
  }
}
