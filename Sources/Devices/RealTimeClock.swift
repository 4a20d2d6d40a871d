// SPDX-License-Identifier: Apache-2.0
public import DeviceModel

/// The PC's clock and its battery-backed memory, an index port and a data port (MC146818).
///
/// The time is the host's; a guest reads it as status B says, in BCD or binary, 12 or 24 hours.
///
/// Threats and what is done about them:
///
/// | Threat | Answer |
/// |---|---|
/// | the guest sets the time | dropped: the clock is the host's |
/// | the guest asks for periodic interrupts | the enable bits do not stick; there is no interrupt |
/// | any index | it has seven bits, and the memory 128 bytes |
/// | odd widths and offsets | they read as ones and write nothing |
public final class RealTimeClock: BusDevice {
  /// Ports taken.
  public static let portCount: UInt64 = 2
  private static let byteCount = 128

  private enum Index {
    static let seconds = 0x00
    static let minutes = 0x02
    static let hours = 0x04
    static let weekday = 0x06
    static let day = 0x07
    static let month = 0x08
    static let year = 0x09
    static let statusA = 0x0A
    static let statusB = 0x0B
    static let statusC = 0x0C
    static let statusD = 0x0D
    static let firstMemory = 0x0E
    static let century = 0x32
  }

  private enum StatusB {
    static let hours24: UInt8 = 1 << 1
    static let binary: UInt8 = 1 << 2
    static let setting: UInt8 = 1 << 7
    static let writable: UInt8 = hours24 | binary | setting
  }

  /// 32,768 Hz, no update in progress.
  private static let statusA: UInt8 = 0x26
  /// The battery is good.
  private static let statusD: UInt8 = 0x80
  private static let afternoon: UInt8 = 0x80

  private let clock: any Clock
  private var index = 0
  private var statusB: UInt8 = StatusB.hours24
  private var memory = [UInt8](repeating: 0, count: byteCount)

  public init(clock: any Clock) {
    self.clock = clock
  }

  public func read(offset: UInt64, width: Int) -> UInt64 {
    guard width == 1, offset == 1 else { return allOnes(width) }  // the index cannot be read
    return UInt64(value(at: index))
  }

  public func write(offset: UInt64, width: Int, value: UInt64) {
    guard width == 1 else { return }
    let byte = UInt8(truncatingIfNeeded: value)
    switch offset {
    case 0: index = Int(byte & 0x7F)  // bit 7 masks NMIs, of which there are none
    case 1: store(byte)
    default: break
    }
  }

  private func store(_ byte: UInt8) {
    if index == Index.statusB {
      statusB = byte & StatusB.writable
    } else if index >= Index.firstMemory, index != Index.century {
      memory[index] = byte
    }
  }

  private func value(at index: Int) -> UInt8 {
    let time = CalendarTime(secondsSinceEpoch: clock.secondsSinceEpoch)
    switch index {
    case Index.seconds: return encoded(time.second)
    case Index.minutes: return encoded(time.minute)
    case Index.hours: return hours(time.hour)
    case Index.weekday: return encoded(time.weekday)
    case Index.day: return encoded(time.day)
    case Index.month: return encoded(time.month)
    case Index.year: return encoded(time.year % 100)
    case Index.century: return encoded(time.year / 100)
    case Index.statusA: return Self.statusA
    case Index.statusB: return statusB
    case Index.statusC: return 0
    case Index.statusD: return Self.statusD
    default: return memory[index]
    }
  }

  private func encoded(_ number: Int) -> UInt8 {
    statusB & StatusB.binary != 0
      ? UInt8(truncatingIfNeeded: number)
      : UInt8(truncatingIfNeeded: ((number / 10) % 10) << 4 | number % 10)
  }

  private func hours(_ hour: Int) -> UInt8 {
    guard statusB & StatusB.hours24 == 0 else { return encoded(hour) }
    let twelve = hour % 12 == 0 ? 12 : hour % 12
    return encoded(twelve) | (hour >= 12 ? Self.afternoon : 0)
  }
}

/// A moment of the Gregorian calendar, UTC.
struct CalendarTime: Equatable {
  let year, month, day, hour, minute, second: Int
  /// 1 is Sunday.
  let weekday: Int

  /// Years before 1970 and after 9999 are cut off: the clock has two digits for the century.
  init(secondsSinceEpoch: Int64) {
    let last: Int64 = 253_402_300_799  // 9999-12-31 23:59:59
    let seconds = Int(min(max(0, secondsSinceEpoch), last))
    let days = seconds / 86_400
    let rest = seconds % 86_400
    (hour, minute, second) = (rest / 3600, rest / 60 % 60, rest % 60)
    weekday = (days + 4) % 7 + 1  // the epoch was a Thursday
    // Days since 0000-03-01 in cycles of 400 years, which begin in March so that leap days end them.
    let shifted = days + 719_468
    let cycle = shifted / 146_097
    let dayOfCycle = shifted % 146_097
    let yearOfCycle =
      (dayOfCycle - dayOfCycle / 1460 + dayOfCycle / 36_524 - dayOfCycle / 146_096) / 365
    let dayOfYear = dayOfCycle - (365 * yearOfCycle + yearOfCycle / 4 - yearOfCycle / 100)
    let marchMonth = (5 * dayOfYear + 2) / 153
    day = dayOfYear - (153 * marchMonth + 2) / 5 + 1
    month = marchMonth < 10 ? marchMonth + 3 : marchMonth - 9
    year = cycle * 400 + yearOfCycle + (month <= 2 ? 1 : 0)
  }
}
