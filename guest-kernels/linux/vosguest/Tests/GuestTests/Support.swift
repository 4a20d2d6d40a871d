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
    _ channel: MemoryChannel, threads: Int = 1, _ make: (ChannelRegion) -> Handler?
  ) throws {
    self.channel = channel
    guard let handler = make(channel.region) else { throw Missing() }
    self.handler = handler
    loop = ServiceLoop(MemoryChannel.Service(channel), handler, threads: threads)
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
