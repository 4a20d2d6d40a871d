// SPDX-License-Identifier: Apache-2.0
import DeviceModel
import Devices
import FuzzKit

// The ports of the platform: serial port, clock, power, panic. Input: accesses, and bytes from the
// outside.
fuzz { input in
  let board = Board()
  while !input.isEmpty { board.step(&input) }
}

final class Board {
  private let devices: [any BusDevice]
  private let serial: SerialPort
  private let surroundings = Surroundings()

  init() {
    serial = SerialPort(line: surroundings, sink: surroundings)
    devices = [
      serial, RealTimeClock(clock: surroundings),
      PowerControl(powerOffValue: 0x34, resetValue: 1, sink: surroundings),
      PanicPort(sink: surroundings),
    ]
  }

  func step(_ input: inout Input) {
    let what = input.byte()
    if what < 24 {
      let bytes = input.take(input.below(300))
      let room = serial.room
      expect(serial.receive(bytes) == min(room, bytes.count), "bytes were lost or made up")
      return
    }
    if what < 32 {
      surroundings.secondsSinceEpoch = Int64(bitPattern: input.interesting())
      return
    }
    let device = devices[input.below(devices.count)]
    let width = [1, 1, 1, 2, 4, 8, 0, 3][input.below(8)]
    let offset = input.byte() < 240 ? UInt64(input.below(9)) : input.interesting()
    if what & 1 == 0 {
      let value = device.read(offset: offset, width: width)
      expect(width != 1 || value <= 0xFF, "more bits than were asked for")
    } else {
      device.write(offset: offset, width: width, value: input.interesting())
    }
  }
}

final class Surroundings: InterruptLine, ByteSink, Clock, PlatformEventSink {
  var secondsSinceEpoch: Int64 = 0

  func set(level: Bool) {}
  func put(_ byte: UInt8) {}
  func report(_ event: PlatformEvent) {}
}
