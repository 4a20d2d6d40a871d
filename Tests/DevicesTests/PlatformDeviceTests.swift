// SPDX-License-Identifier: Apache-2.0
import DeviceModel
import Devices
import Testing

@Suite struct RealTimeClockTests {
  /// 2026-11-21 22:05:09 UTC, a Saturday.
  private let clock = FixedClock(1_795_298_709)

  private func read(_ rtc: RealTimeClock, _ index: UInt8) -> UInt8 {
    rtc.put(0, index)
    return rtc.byte(1)
  }

  private func write(_ rtc: RealTimeClock, _ index: UInt8, _ value: UInt8) {
    rtc.put(0, index)
    rtc.put(1, value)
  }

  /// Seconds, minutes, hours, weekday, day, month, year, century.
  private static let time: [UInt8] = [0, 2, 4, 6, 7, 8, 9, 0x32]

  @Test func timeIsBCDIn24HoursAfterReset() {
    let rtc = RealTimeClock(clock: clock)
    #expect(
      Self.time.map { read(rtc, $0) } == [0x09, 0x05, 0x22, 0x07, 0x21, 0x11, 0x26, 0x20])
  }

  @Test func timeIsBinaryIfStatusBSaysSo() {
    let rtc = RealTimeClock(clock: clock)
    write(rtc, 0x0B, 0x06)
    #expect(Self.time.map { read(rtc, $0) } == [9, 5, 22, 7, 21, 11, 26, 20])
  }

  @Test(arguments: [
    (0, 0x12), (1, 0x01), (11, 0x11), (12, 0x92), (13, 0x81), (22, 0x90), (23, 0x91),
  ])
  func hoursAreTwelveIfStatusBSaysSo(hour: Int, register: Int) {
    let rtc = RealTimeClock(clock: FixedClock(Int64(hour) * 3600))
    write(rtc, 0x0B, 0x00)
    #expect(read(rtc, 4) == UInt8(register))
  }

  @Test(
    arguments: [
      (0, [0, 0, 0, 5, 1, 1, 70, 19]),  // the epoch, a Thursday
      (951_782_399, [59, 59, 23, 2, 28, 2, 0, 20]),
      (951_782_400, [0, 0, 0, 3, 29, 2, 0, 20]),  // 2000 was a leap year
      (4_107_542_400, [0, 0, 0, 2, 1, 3, 0, 21]),  // 2100 is none
      (253_402_300_799, [59, 59, 23, 6, 31, 12, 99, 99]),
      (Int64.max, [59, 59, 23, 6, 31, 12, 99, 99]),
      (Int64.min, [0, 0, 0, 5, 1, 1, 70, 19]),
    ] as [(Int64, [Int])])
  func calendarIsRight(seconds: Int64, expected: [Int]) {
    let rtc = RealTimeClock(clock: FixedClock(seconds))
    write(rtc, 0x0B, 0x06)
    #expect(Self.time.map { Int(read(rtc, $0)) } == expected)
  }

  @Test func theGuestCannotSetTheTime() {
    let rtc = RealTimeClock(clock: clock)
    for index in Self.time { write(rtc, index, 0x01) }
    #expect(
      Self.time.map { read(rtc, $0) } == [0x09, 0x05, 0x22, 0x07, 0x21, 0x11, 0x26, 0x20])
  }

  @Test func statusRegistersAllowNoInterrupts() {
    let rtc = RealTimeClock(clock: clock)
    write(rtc, 0x0B, 0xFF)
    #expect(read(rtc, 0x0B) == 0x86)
    write(rtc, 0x0A, 0xFF)
    #expect(read(rtc, 0x0A) == 0x26)
    #expect(read(rtc, 0x0C) == 0 && read(rtc, 0x0D) == 0x80)
  }

  @Test func memoryIsKept() {
    let rtc = RealTimeClock(clock: clock)
    for index: UInt8 in 0x0E...0x7F where index != 0x32 { write(rtc, index, index ^ 0x5A) }
    for index: UInt8 in 0x0E...0x7F where index != 0x32 {
      #expect(read(rtc, index) == index ^ 0x5A)
    }
    #expect(read(rtc, 0x8E) == 0x0E ^ 0x5A)  // bit 7 is not part of the index
  }

  @Test func aHostileGuestDoesNotTrap() {
    let rtc = RealTimeClock(clock: clock)
    rtc.hammer(offsets: 0..<8, rounds: 20_000)
    #expect(rtc.read(offset: 0, width: 1) == 0xFF)
    #expect(rtc.read(offset: 1, width: 2) == 0xFFFF)
  }
}

@Suite struct PowerControlTests {
  private let events = EventRecorder()
  private func makeDevice() -> PowerControl {
    PowerControl(powerOffValue: 0x34, resetValue: 0x01, sink: events)
  }

  @Test func powerOffNeedsTypeAndEnable() {
    let device = makeDevice()
    for value: UInt8 in 0...0xFF where value & 0x3C != 0x34 { device.put(0, value) }
    #expect(events.events.isEmpty)
    device.put(0, 0x34)
    #expect(events.events == [.powerOff])
    #expect(device.byte(0) == 0x14)
  }

  @Test func resetTakesItsValueOnly() {
    let device = makeDevice()
    for value: UInt8 in 0...0xFF where value != 1 { device.put(2, value) }
    #expect(events.events.isEmpty)
    device.put(2, 1)
    #expect(events.events == [.reset])
  }

  @Test func statusSaysAwakeAndWidthsAreChecked() {
    let device = makeDevice()
    device.put(1, 0x80)
    #expect(device.byte(1) == 0)
    device.write(offset: 0, width: 2, value: 0x34)
    device.write(offset: 0, width: 4, value: 0x34)
    device.write(offset: 2, width: 2, value: 1)
    #expect(events.events.isEmpty)
    #expect(device.read(offset: 0, width: 4) == 0xFFFF_FFFF)
    device.hammer(offsets: 1..<2, rounds: 1000)
    device.hammer(offsets: 3..<20, rounds: 1000)
    #expect(events.events.isEmpty)
  }
}

@Suite struct PanicPortTests {
  @Test func panicsAreReportedAndUnknownBitsAreNot() {
    let events = EventRecorder()
    let port = PanicPort(sink: events)
    #expect(port.byte(0) == 0x03)
    port.put(0, 0xFC)
    port.put(0, 0x02)
    port.put(0, 0x03)
    #expect(events.events == [.crashLoaded, .panicked])
    port.write(offset: 0, width: 2, value: 1)
    port.write(offset: 1, width: 1, value: 1)
    #expect(events.events.count == 2)
    #expect(port.read(offset: 0, width: 4) == 0xFFFF_FFFF)
  }
}
