// SPDX-License-Identifier: Apache-2.0
import DeviceModel
import Devices
import Testing

/// Registers, by the names of the data sheet.
private enum R {
  static let rbr: UInt64 = 0, ier: UInt64 = 1, iir: UInt64 = 2, lcr: UInt64 = 3
  static let mcr: UInt64 = 4, lsr: UInt64 = 5, msr: UInt64 = 6, scr: UInt64 = 7
}

private final class Rig {
  let line = LineRecorder()
  let sink = ByteRecorder()
  var drained = 0
  lazy var port = SerialPort(line: line, sink: sink, drained: { [unowned self] in drained += 1 })
}

@Suite struct SerialPortTests {
  private let rig = Rig()
  private var port: SerialPort { rig.port }

  @Test func registersHaveTheirResetValues() {
    #expect(port.byte(R.ier) == 0)
    #expect(port.byte(R.iir) == 0x01)
    #expect(port.byte(R.mcr) == 0)
    #expect(port.byte(R.lsr) == 0x60)
    #expect(port.byte(R.msr) == 0xB0)
    #expect(rig.line.levels.isEmpty)
  }

  @Test func whatTheGuestSendsReachesTheSink() {
    for byte in Array("hello".utf8) { port.put(R.rbr, byte) }
    #expect(rig.sink.bytes == Array("hello".utf8))
    #expect(port.byte(R.lsr) & 0x60 == 0x60)
  }

  @Test func theDivisorHidesBehindTheLatch() {
    port.put(R.lcr, 0x83)
    port.put(R.rbr, 1)
    port.put(R.ier, 2)
    #expect(port.byte(R.rbr) == 1 && port.byte(R.ier) == 2)
    port.put(R.lcr, 0x03)
    #expect(port.byte(R.ier) == 0 && port.byte(R.lcr) == 0x03)
    #expect(rig.sink.bytes.isEmpty)
  }

  @Test func receivedBytesInterruptUntilTheyAreRead() {
    port.put(R.ier, 0x01)
    #expect(port.receive([0x41, 0x42]) == 2)
    #expect(rig.line.levels == [true])
    #expect(port.byte(R.iir) == 0x04)
    #expect(port.byte(R.lsr) & 1 == 1)
    #expect(port.byte(R.rbr) == 0x41)
    #expect(rig.line.level && rig.drained == 0)
    #expect(port.byte(R.rbr) == 0x42)
    #expect(rig.line.levels == [true, false] && rig.drained == 1)
    #expect(port.byte(R.iir) == 0x01 && port.byte(R.lsr) & 1 == 0)
    #expect(port.byte(R.rbr) == 0)
  }

  @Test func enablingTheInterruptLaterRaisesIt() {
    _ = port.receive([1])
    #expect(rig.line.levels.isEmpty)
    port.put(R.ier, 0x01)
    #expect(rig.line.levels == [true])
    port.put(R.ier, 0x00)
    #expect(rig.line.levels == [true, false])
  }

  @Test func theTransmitterInterruptIsTakenByReadingItsIdentity() {
    port.put(R.ier, 0x02)
    #expect(rig.line.levels == [true])
    #expect(port.byte(R.iir) == 0x02)
    #expect(rig.line.levels == [true, false])
    #expect(port.byte(R.iir) == 0x01)
    port.put(R.rbr, 0x58)
    #expect(rig.line.levels == [true, false, true])
    port.put(R.rbr, 0x59)
    #expect(rig.line.levels == [true, false, true])
    #expect(port.byte(R.iir) == 0x02)
    #expect(rig.line.level == false)
  }

  @Test func writingTheSameEnableBitsAgainDoesNotInterruptAgain() {
    port.put(R.ier, 0x02)
    _ = port.byte(R.iir)
    port.put(R.ier, 0x02)
    #expect(port.byte(R.iir) == 0x01)
  }

  @Test func receivedDataComesBeforeTheTransmitter() {
    port.put(R.ier, 0x03)
    _ = port.receive([7])
    #expect(port.byte(R.iir) == 0x04)
    _ = port.byte(R.rbr)
    #expect(port.byte(R.iir) == 0x02)
  }

  @Test func fifosShowInTheIdentity() {
    port.put(R.iir, 0x01)
    #expect(port.byte(R.iir) == 0xC1)
    _ = port.receive([1, 2, 3])
    port.put(R.iir, 0x03)
    #expect(port.byte(R.lsr) & 1 == 0 && rig.drained == 1)
    _ = port.receive([1])
    port.put(R.iir, 0x00)
    #expect(port.byte(R.iir) == 0x01 && port.byte(R.lsr) & 1 == 0)
  }

  /// What came during loopback waits outside: nobody else would fetch it.
  @Test func theEndOfLoopbackAsksForInput() {
    port.put(R.mcr, 0x10)
    #expect(port.room == 0 && port.receive([0x41]) == 0)
    #expect(rig.drained == 0)
    port.put(R.mcr, 0x0B)
    #expect(rig.drained == 1 && port.room > 0)
    port.put(R.mcr, 0x0B)
    #expect(rig.drained == 1)
  }

  @Test func loopbackReturnsDataAndModemLines() {
    port.put(R.mcr, 0x1A)
    #expect(port.byte(R.msr) & 0xF0 == 0x90)
    port.put(R.mcr, 0x15)
    #expect(port.byte(R.msr) & 0xF0 == 0x60)
    port.put(R.rbr, 0x5A)
    #expect(rig.sink.bytes.isEmpty)
    #expect(port.byte(R.rbr) == 0x5A)
    #expect(port.receive([1]) == 0 && port.room == 0)
    port.put(R.mcr, 0x0B)
    #expect(port.byte(R.msr) & 0xF0 == 0xB0)
  }

  @Test func modemChangesAreToldOnce() {
    port.put(R.ier, 0x08)
    port.put(R.mcr, 0x10)
    #expect(rig.line.level)
    #expect(port.byte(R.iir) == 0x00)
    #expect(port.byte(R.msr) & 0x0F == 0x0B)
    #expect(rig.line.level == false)
    #expect(port.byte(R.msr) & 0x0F == 0)
    port.put(R.mcr, 0x14)  // the ring indicator rises: no event
    #expect(port.byte(R.msr) & 0x0F == 0)
    port.put(R.mcr, 0x10)  // and falls: one
    #expect(port.byte(R.msr) & 0x0F == 0x04)
  }

  @Test func aFullLoopbackIsAnOverrun() {
    port.put(R.ier, 0x04)
    port.put(R.mcr, 0x10)
    for _ in 0...SerialPort.queueLimit { port.put(R.rbr, 1) }
    #expect(port.byte(R.iir) == 0x06)
    #expect(port.byte(R.lsr) & 0x02 == 0x02)
    #expect(port.byte(R.lsr) & 0x02 == 0)
    #expect(rig.line.level == false)
  }

  @Test func aFloodFromOutsideIsBounded() {
    #expect(port.room == SerialPort.queueLimit)
    #expect(
      port.receive([UInt8](repeating: 1, count: 100_000)) == SerialPort.queueLimit)
    #expect(port.room == 0 && port.receive([1]) == 0)
  }

  @Test func scratchHoldsItsValueAndStatusRegistersDoNotTakeOne() {
    port.put(R.scr, 0xA5)
    port.put(R.lsr, 0xFF)
    port.put(R.msr, 0xFF)
    #expect(port.byte(R.scr) == 0xA5 && port.byte(R.lsr) == 0x60 && port.byte(R.msr) == 0xB0)
    port.put(R.mcr, 0xFF)
    #expect(port.byte(R.mcr) == 0x1F)
  }

  @Test func oddWidthsAndOffsetsDoNothing() {
    #expect(port.read(offset: 0, width: 2) == 0xFFFF)
    #expect(port.read(offset: 0, width: 4) == 0xFFFF_FFFF)
    #expect(port.read(offset: 8, width: 1) == 0xFF)
    port.write(offset: 0, width: 2, value: 0x4141)
    port.write(offset: 9, width: 1, value: 0x41)
    #expect(rig.sink.bytes.isEmpty)
  }

  @Test func aHostileGuestDoesNotTrap() {
    for _ in 0..<200 {
      port.hammer(offsets: 0..<16, rounds: 100)
      _ = port.receive([1, 2, 3])
      #expect(port.room >= 0 && port.room <= SerialPort.queueLimit)
    }
  }
}

@Suite struct ByteQueueTests {
  @Test func bytesComeOutInOrderAcrossTheEnd() {
    var queue = ByteQueue(limit: 4)
    var next: UInt8 = 0
    var expected: UInt8 = 0
    for _ in 0..<50 {
      while queue.append(next) { next &+= 1 }
      #expect(queue.count == 4 && queue.room == 0)
      for _ in 0..<3 {
        #expect(queue.removeFirst() == expected)
        expected &+= 1
      }
    }
  }

  @Test func theFirstStretchEndsAtTheWrap() {
    var queue = ByteQueue(limit: 4)
    for byte: UInt8 in 0..<4 { _ = queue.append(byte) }
    queue.removeFirst(3)
    for byte: UInt8 in 4..<6 { _ = queue.append(byte) }
    #expect(queue.withFirstStretch { span in (0..<span.count).map { span[$0] } } == [3])
    queue.removeFirst(1)
    #expect(queue.withFirstStretch { span in (0..<span.count).map { span[$0] } } == [4, 5])
    queue.removeFirst(9)
    #expect(queue.isEmpty && queue.removeFirst() == nil)
    #expect(queue.withFirstStretch { $0.count } == 0)
  }
}
