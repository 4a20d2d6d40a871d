// SPDX-License-Identifier: Apache-2.0
public import DeviceModel

/// What a guest asks of its platform.
public enum PlatformEvent: Equatable, Sendable {
  /// Power off (S5).
  case powerOff
  /// Start again.
  case reset
  /// The guest's kernel has panicked.
  case panicked
  /// The guest's kernel has panicked and boots a crash kernel, which will report.
  case crashLoaded
}

/// Where devices report what the guest asks of its platform; never blocks.
public protocol PlatformEventSink: AnyObject {
  func report(_ event: PlatformEvent)
}

/// The registers of hardware-reduced ACPI: sleep control, sleep status and reset (ACPI 6.4, 4.8.3.6
/// and 4.8.3.7), one byte each.
///
/// Threats: a guest that writes other values than it was told in the FADT and `_S5` changes nothing;
/// a guest that repeats itself reports the same event again, which the machine takes once.
public final class PowerControl: BusDevice {
  /// Ports taken.
  public static let portCount: UInt64 = 3

  /// Offsets from the first port.
  public enum Register {
    public static let sleepControl: UInt64 = 0
    public static let sleepStatus: UInt64 = 1
    public static let reset: UInt64 = 2
  }

  private static let sleepEnable: UInt8 = 1 << 5
  private static let sleepTypeMask: UInt8 = 0x1C

  private let powerOffValue: UInt8
  private let resetValue: UInt8
  private let sink: any PlatformEventSink
  private var sleepControl: UInt8 = 0

  /// - Parameters:
  ///   - powerOffValue: what the guest writes to the sleep control register for S5.
  ///   - resetValue: what the guest writes to the reset register.
  public init(powerOffValue: UInt8, resetValue: UInt8, sink: any PlatformEventSink) {
    self.powerOffValue = powerOffValue
    self.resetValue = resetValue
    self.sink = sink
  }

  public func read(offset: UInt64, width: Int) -> UInt64 {
    guard width == 1 else { return allOnes(width) }
    switch offset {
    case Register.sleepControl: return UInt64(sleepControl)
    case Register.sleepStatus: return 0  // has not woken from a sleep
    default: return allOnes(width)
    }
  }

  public func write(offset: UInt64, width: Int, value: UInt64) {
    guard width == 1 else { return }
    let byte = UInt8(truncatingIfNeeded: value)
    switch offset {
    case Register.sleepControl:
      sleepControl = byte & Self.sleepTypeMask  // the enable bit reads as zero
      let command = byte & (Self.sleepTypeMask | Self.sleepEnable)
      if command == powerOffValue { sink.report(.powerOff) }
    case Register.reset where byte == resetValue: sink.report(.reset)
    default: break
    }
  }
}

/// The one-port device by which a guest's kernel tells of its panic (QEMU docs/specs/pvpanic).
///
/// Threats: unknown bits are dropped; a flood of panics is one event to the machine.
public final class PanicPort: BusDevice {
  /// Ports taken.
  public static let portCount: UInt64 = 1
  private static let panicked: UInt8 = 1 << 0
  private static let crashLoaded: UInt8 = 1 << 1

  private let sink: any PlatformEventSink

  public init(sink: any PlatformEventSink) {
    self.sink = sink
  }

  public func read(offset: UInt64, width: Int) -> UInt64 {
    // Which events the device takes.
    width == 1 && offset == 0 ? UInt64(Self.panicked | Self.crashLoaded) : allOnes(width)
  }

  public func write(offset: UInt64, width: Int, value: UInt64) {
    guard width == 1, offset == 0 else { return }
    let byte = UInt8(truncatingIfNeeded: value)
    if byte & Self.panicked != 0 {
      sink.report(.panicked)
    } else if byte & Self.crashLoaded != 0 {
      sink.report(.crashLoaded)
    }
  }
}
