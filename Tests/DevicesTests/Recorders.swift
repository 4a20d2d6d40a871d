// SPDX-License-Identifier: Apache-2.0
import DeviceModel
import Devices

/// Remembers every level that a line was driven to.
final class LineRecorder: InterruptLine {
  var levels: [Bool] = []
  var level: Bool { levels.last ?? false }
  func set(level: Bool) { levels.append(level) }
}

/// Remembers every byte.
final class ByteRecorder: ByteSink {
  var bytes: [UInt8] = []
  func put(_ byte: UInt8) { bytes.append(byte) }
}

/// A clock that stands still.
final class FixedClock: Clock {
  var secondsSinceEpoch: Int64
  init(_ seconds: Int64) { secondsSinceEpoch = seconds }
}

/// Remembers every event.
final class EventRecorder: PlatformEventSink {
  var events: [PlatformEvent] = []
  func report(_ event: PlatformEvent) { events.append(event) }
}

extension BusDevice {
  /// A byte read at `offset`.
  func byte(_ offset: UInt64) -> UInt8 { UInt8(truncatingIfNeeded: read(offset: offset, width: 1)) }
  /// A byte written at `offset`.
  func put(_ offset: UInt64, _ value: UInt8) {
    write(offset: offset, width: 1, value: UInt64(value))
  }

  /// Accesses of every width to every offset, and random ones, as a hostile guest would make them.
  func hammer(offsets: Range<UInt64>, rounds: Int) {
    var generator = SystemRandomNumberGenerator()
    for _ in 0..<rounds {
      let offset = UInt64.random(in: offsets, using: &generator)
      let width = [0, 1, 2, 3, 4, 8][Int.random(in: 0..<6, using: &generator)]
      if Bool.random(using: &generator) {
        write(offset: offset, width: width, value: .random(in: 0 ... .max, using: &generator))
      } else {
        _ = read(offset: offset, width: width)
      }
    }
  }
}
