// SPDX-License-Identifier: Apache-2.0
public import DeviceModel

/// A 16550A serial port: eight byte-wide registers (National PC16550D data sheet, section 8).
///
/// Transmission takes no time: the transmitter is always empty, so a guest never waits for it.
///
/// Threats and what is done about them:
///
/// | Threat | Answer |
/// |---|---|
/// | the guest floods the line | every byte goes to a sink that never blocks; nothing is queued here |
/// | the outside floods the guest | `receive` takes no more than `room` bytes; the caller keeps the rest |
/// | loopback fills the receiver | the queue is bounded; a byte too many is an overrun, as on hardware |
/// | odd widths and offsets | they read as ones and write nothing |
/// | an interrupt storm | the line changes only when its level does |
public final class SerialPort: BusDevice {
  /// Ports taken.
  public static let portCount: UInt64 = 8
  /// Bytes that wait for the guest at most. More than the chip's 16, so that pasted text flows.
  public static let queueLimit = 256

  /// Register offsets.
  private enum Register {
    static let data: UInt64 = 0  // or the divisor's low byte
    static let interruptEnable: UInt64 = 1  // or the divisor's high byte
    static let interruptIdentity: UInt64 = 2  // FIFO control when written
    static let lineControl: UInt64 = 3
    static let modemControl: UInt64 = 4
    static let lineStatus: UInt64 = 5
    static let modemStatus: UInt64 = 6
    static let scratch: UInt64 = 7
  }

  /// Bits of the interrupt enable register.
  private struct Enable: OptionSet {
    let rawValue: UInt8
    static let received = Enable(rawValue: 1 << 0)
    static let transmitterEmpty = Enable(rawValue: 1 << 1)
    static let lineStatus = Enable(rawValue: 1 << 2)
    static let modemStatus = Enable(rawValue: 1 << 3)
    static let all = Enable(rawValue: 0x0F)
  }

  /// Values of the interrupt identity register, by falling priority.
  private enum Identity {
    static let none: UInt8 = 0x01
    static let lineStatus: UInt8 = 0x06
    static let received: UInt8 = 0x04
    static let transmitterEmpty: UInt8 = 0x02
    static let modemStatus: UInt8 = 0x00
    static let fifosEnabled: UInt8 = 0xC0
  }

  private enum LineStatus {
    static let dataReady: UInt8 = 1 << 0
    static let overrun: UInt8 = 1 << 1
    static let transmitterEmpty: UInt8 = 1 << 5 | 1 << 6
  }

  private enum ModemControl {
    static let writable: UInt8 = 0x1F
    static let loopback: UInt8 = 1 << 4
  }

  private enum ModemStatus {
    /// CTS, DSR and DCD: somebody is connected and listens.
    static let connected: UInt8 = 1 << 4 | 1 << 5 | 1 << 7
    static let ringing: UInt8 = 1 << 6
  }

  private static let divisorLatch: UInt8 = 1 << 7

  private let line: any InterruptLine
  private let sink: any ByteSink
  private let drained: () -> Void

  private var enable: Enable = []
  private var divisor: (low: UInt8, high: UInt8) = (12, 0)  // 9600 baud
  private var lineControl: UInt8 = 3  // eight data bits
  private var modemControl: UInt8 = 0
  private var modemDeltas: UInt8 = 0
  private var scratch: UInt8 = 0
  private var fifosEnabled = false
  private var overrun = false
  private var transmitterEmptyPending = false
  private var level = false
  private var queue = ByteQueue(limit: queueLimit)

  /// - Parameters:
  ///   - line: the port's interrupt.
  ///   - sink: takes what the guest sends.
  ///   - drained: called when the guest has read all that was received, and when it ends loopback.
  public init(
    line: any InterruptLine, sink: any ByteSink, drained: @escaping () -> Void = {}
  ) {
    self.line = line
    self.sink = sink
    self.drained = drained
  }

  /// How many bytes `receive` would take now.
  public var room: Int { isLoopback ? 0 : queue.room }

  /// Takes bytes from the outside and returns how many; the caller keeps the others.
  public func receive(_ bytes: some Sequence<UInt8>) -> Int {
    guard !isLoopback else { return 0 }
    var taken = 0
    for byte in bytes {
      guard queue.append(byte) else { break }
      taken += 1
    }
    updateLine()
    return taken
  }

  private var isLoopback: Bool { modemControl & ModemControl.loopback != 0 }
  private var hasDivisorAccess: Bool { lineControl & Self.divisorLatch != 0 }

  // MARK: BusDevice

  public func read(offset: UInt64, width: Int) -> UInt64 {
    guard width == 1, offset < Self.portCount else { return allOnes(width) }
    return UInt64(readRegister(offset))
  }

  public func write(offset: UInt64, width: Int, value: UInt64) {
    guard width == 1, offset < Self.portCount else { return }
    writeRegister(offset, UInt8(truncatingIfNeeded: value))
    updateLine()
  }

  private func readRegister(_ offset: UInt64) -> UInt8 {
    switch offset {
    case Register.data: hasDivisorAccess ? divisor.low : takeReceived()
    case Register.interruptEnable: hasDivisorAccess ? divisor.high : enable.rawValue
    case Register.interruptIdentity: takeIdentity()
    case Register.lineControl: lineControl
    case Register.modemControl: modemControl
    case Register.lineStatus: takeLineStatus()
    case Register.modemStatus: takeModemStatus()
    default: scratch
    }
  }

  private func writeRegister(_ offset: UInt64, _ value: UInt8) {
    switch offset {
    case Register.data:
      if hasDivisorAccess { divisor.low = value } else { transmit(value) }
    case Register.interruptEnable:
      if hasDivisorAccess { divisor.high = value } else { setEnable(value) }
    case Register.interruptIdentity: setFIFOControl(value)
    case Register.lineControl: lineControl = value
    case Register.modemControl: setModemControl(value)
    case Register.scratch: scratch = value
    default: break  // both status registers are read-only
    }
  }

  // MARK: Data

  private func transmit(_ byte: UInt8) {
    if isLoopback {
      if !queue.append(byte) { overrun = true }
    } else {
      sink.put(byte)
    }
    transmitterEmptyPending = true
  }

  private func takeReceived() -> UInt8 {
    guard let byte = queue.removeFirst() else { return 0 }
    if queue.isEmpty {
      updateLine()
      drained()
    }
    return byte
  }

  private func setFIFOControl(_ value: UInt8) {
    let enabled = value & 1 != 0
    let clearsReceiver = value & 2 != 0
    if clearsReceiver || enabled != fifosEnabled {
      let held = !queue.isEmpty
      queue.removeAll()
      if held { drained() }
    }
    fifosEnabled = enabled
  }

  // MARK: Status and interrupts

  private func setEnable(_ value: UInt8) {
    let new = Enable(rawValue: value).intersection(.all)
    if new.contains(.transmitterEmpty), !enable.contains(.transmitterEmpty) {
      // The transmitter is empty, which the guest is told as soon as it asks to be told.
      transmitterEmptyPending = true
    }
    enable = new
  }

  private var identity: UInt8 {
    if enable.contains(.lineStatus), overrun { return Identity.lineStatus }
    if enable.contains(.received), !queue.isEmpty { return Identity.received }
    if enable.contains(.transmitterEmpty), transmitterEmptyPending {
      return Identity.transmitterEmpty
    }
    if enable.contains(.modemStatus), modemDeltas != 0 { return Identity.modemStatus }
    return Identity.none
  }

  private func takeIdentity() -> UInt8 {
    let identity = identity
    if identity == Identity.transmitterEmpty {
      transmitterEmptyPending = false
      updateLine()
    }
    return identity | (fifosEnabled ? Identity.fifosEnabled : 0)
  }

  private func takeLineStatus() -> UInt8 {
    var status = LineStatus.transmitterEmpty
    if !queue.isEmpty { status |= LineStatus.dataReady }
    if overrun {
      status |= LineStatus.overrun
      overrun = false
      updateLine()
    }
    return status
  }

  /// CTS, DSR, RI and DCD: in loopback they follow RTS, DTR, OUT1 and OUT2.
  private var modemLines: UInt8 {
    guard isLoopback else { return ModemStatus.connected }
    let outputs = modemControl
    return (outputs & 2) << 3 | (outputs & 1) << 5 | (outputs & 4) << 4 | (outputs & 8) << 4
  }

  private func setModemControl(_ value: UInt8) {
    let before = modemLines
    let wasLoopback = isLoopback
    modemControl = value & ModemControl.writable
    let changed = before ^ modemLines
    // The ring indicator counts only when it falls.
    let ringFell = changed & before & ModemStatus.ringing
    modemDeltas |= (changed & ~ModemStatus.ringing | ringFell) >> 4
    // What came from outside meanwhile was not taken.
    if wasLoopback, !isLoopback { drained() }
  }

  private func takeModemStatus() -> UInt8 {
    let status = modemLines | modemDeltas
    if modemDeltas != 0 {
      modemDeltas = 0
      updateLine()
    }
    return status
  }

  private func updateLine() {
    let wanted = identity != Identity.none
    guard wanted != level else { return }
    level = wanted
    line.set(level: wanted)
  }
}
