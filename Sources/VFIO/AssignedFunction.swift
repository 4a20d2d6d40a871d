// SPDX-License-Identifier: Apache-2.0
public import DeviceModel
public import PCI

/// What the machine does for an assigned function's interrupts.
///
/// The eventfds are the machine's: the kernel rings them when the physical function interrupts.
/// `configure` (of `MessageInterruptSink`) says where a vector points; while it points nowhere its
/// eventfd must not be tied to a GSI: it then keeps what rang, and tying it again delivers it.
/// `raise` is never called.
public protocol AssignedInterruptSink: MessageInterruptSink {
  /// The eventfd of MSI or MSI-X vector `vector`; the same one each time. `nil` if there is none to
  /// be had: the vector is then dead.
  func eventDescriptor(vector: Int) -> Int32?
  /// Ties a pair of eventfds to the I/O APIC input of `pin` (1–4) by a resampling irqfd:
  /// `trigger` raises the line, KVM rings `resample` when the guest has served it. `nil` if there
  /// is no such input.
  func connectLine(pin: Int) -> LineDescriptors?
  /// Takes back what `connectLine` did and lowers the line.
  func disconnectLine()
  /// Something the operator should know; rate-limit what a guest can cause.
  func report(_ problem: String)
}

/// The two ends of a resampling irqfd.
public struct LineDescriptors: Equatable, Sendable {
  public let trigger: Int32
  public let resample: Int32

  public init(trigger: Int32, resample: Int32) {
    self.trigger = trigger
    self.resample = resample
  }
}

/// A physical PCI function, shown to a guest.
///
/// How a machine uses it:
/// 1. `VFIOContainer.map` of all guest RAM, then `VFIOHostFunction(VFIODevice(owning:))`.
/// 2. `AssignedFunction(host, sink:)`; insert it in the bus before `assignBARs`.
/// 3. When the bus maps a BAR: a memory slot for each of `directRanges(ofBAR:)`, backed by
///    `hostAddress(ofBAR:offset:)`. All other accesses come to `readBAR` and `writeBAR`, which
///    reach the function by `pread` and `pwrite`.
/// 4. Watch an eventfd tied to `.error` and `.request` of `host.device` and report it.
///
/// Threats and answers:
///
/// | A hostile guest … | … gets |
/// |---|---|
/// | moves BARs | its own address space changed; the physical BARs never move |
/// | clears memory enable or enters D3 under an access | a model's bit; the function stays on |
/// | writes an MSI-X entry | a route of its own VM; the physical table is the host's |
/// | asks for more vectors than the host has | fewer, and a report |
/// | uses SR-IOV, ATS, resizable BARs | capabilities that are not there |
/// | makes the function do DMA elsewhere | an IOMMU fault: only its RAM is mapped |
/// | reads a BAR of a function that is gone | ones |
public final class AssignedFunction: PCIFunction {
  /// A part of a BAR that the guest reaches directly.
  private struct Mapped {
    let range: DirectRange
    let hostAddress: UInt
  }

  /// The physical function, for resets and events.
  public let host: any HostFunction
  private var configuration: AssignedConfiguration
  private var interrupts = InterruptMode()
  private var mapped: [Int: [Mapped]] = [:]
  private let sink: any AssignedInterruptSink

  /// Reads the function's configuration space, maps its BARs and enables INTx if it has it.
  public init(
    _ host: any HostFunction, sink: any AssignedInterruptSink
  ) throws(VFIOError) {
    self.host = host
    self.sink = sink
    let physical = try Self.readConfiguration(of: host)
    let plan = AssignedBARs(physical: physical, region: host.region)
    do throws(PCIError) {
      configuration = try AssignedConfiguration(
        physical: physical, bars: plan.bars, hasLine: host.vectorCount(.intx) > 0)
    } catch {
      throw .pci(error)
    }
    for bar in plan.bars {
      for range in plan.directRanges(of: bar, in: configuration) {
        let address = try host.map(
          region: bar.index, range: range.offset..<range.offset + range.byteCount)
        mapped[bar.index, default: []].append(Mapped(range: range, hostAddress: address))
      }
    }
    writeDeviceCommand()
    reportErrors()
    updateInterrupts()
  }

  private static func readConfiguration(of host: any HostFunction) throws(VFIOError) -> [UInt8] {
    let index = RegionInfo.Index.configuration
    let count = min(Int(clamping: host.region(index).byteCount), 4096)
    var bytes: [UInt8] = []
    for offset in stride(from: 0, to: count, by: 4) {
      guard let word = host.read(region: index, offset: UInt64(offset), width: 4) else {
        throw .configurationUnreadable(offset: offset)
      }
      for byte in 0..<4 { bytes.append(UInt8(truncatingIfNeeded: word >> (8 * byte))) }
    }
    guard bytes.count >= ConfigurationSpace.conventionalByteCount else {
      throw .configurationUnreadable(offset: bytes.count)
    }
    return bytes
  }

  /// 1–4 for INTA–INTD, 0 for none.
  public var interruptPin: Int { configuration.interruptPin }

  // MARK: Configuration space

  public var bars: [BARDescription] { configuration.space.bars }
  public var decodedBARs: [DecodedBAR] { configuration.space.decodedBARs }

  public func readConfiguration(offset: Int, width: Int) -> UInt32 {
    let modelled = configuration.space.read(offset, width: width)
    switch configuration.owner(offset, width: width) {
    case .model: return modelled
    case .device: return readDevice(offset, width)
    case .both(let isDevices):
      let physical = readDevice(offset, width)
      var mask: UInt32 = 0
      for (byte, isDevices) in isDevices.enumerated() where isDevices {
        mask |= 0xFF << UInt32(8 * byte)
      }
      return physical & mask | modelled & ~mask
    }
  }

  public func writeConfiguration(offset: Int, width: Int, value: UInt32) {
    configuration.space.write(offset, width: width, value: value)
    switch configuration.owner(offset, width: width) {
    case .model: break
    case .device: writeDevice(offset, width, value)
    case .both(let isDevices):
      for (byte, isDevices) in isDevices.enumerated() where isDevices {
        writeDevice(offset + byte, 1, (value >> UInt32(8 * byte)) & 0xFF)
      }
    }
    if offset < PCIRegister.status && offset + width > PCIRegister.command {
      writeDeviceCommand()
    }
    if let control = configuration.deviceControlOffset,
      offset < control + 2 && offset + width > control
    {
      reportErrors()
    }
    let touchesVectors =
      configuration.msi?.covers(offset, width: width) == true
      || configuration.msix?.covers(offset, width: width) == true
    if touchesVectors { vectorRegistersChanged() }
  }

  private func readDevice(_ offset: Int, _ width: Int) -> UInt32 {
    let value = host.read(
      region: RegionInfo.Index.configuration, offset: UInt64(offset), width: width)
    return UInt32(truncatingIfNeeded: value ?? truncated(.max, width: width))
  }

  private func writeDevice(_ offset: Int, _ width: Int, _ value: UInt32) {
    _ = host.write(
      region: RegionInfo.Index.configuration, offset: UInt64(offset), width: width,
      value: UInt64(value))
  }

  private func writeDeviceCommand() {
    writeDevice(PCIRegister.command, 2, UInt32(configuration.deviceCommand))
  }

  /// Has the function send its uncorrectable errors up to the root port, where the host waits for
  /// them: its own driver switches that off when it lets go, and the guest has no use for it.
  private func reportErrors() {
    guard let control = configuration.deviceControlOffset else { return }
    let value = readDevice(control, 2)
    let wanted = value | AssignedConfiguration.errorReportBits
    if value != wanted { writeDevice(control, 2, wanted) }
  }

  // MARK: BARs

  public func directRanges(ofBAR bar: Int) -> [DirectRange] {
    mapped[bar, default: []].map(\.range)
  }

  /// The address in this process behind the direct range that starts at `offset` of BAR `bar`;
  /// `nil` if none does. It stays valid as long as the function lives.
  public func hostAddress(ofBAR bar: Int, offset: UInt64) -> UInt? {
    mapped[bar, default: []].first { $0.range.offset == offset }?.hostAddress
  }

  public func readBAR(_ bar: Int, offset: UInt64, width: Int) -> UInt64 {
    if let value = configuration.msix?.read(bar: bar, offset: offset, width: width) {
      return value
    }
    return host.read(region: bar, offset: offset, width: width) ?? truncated(.max, width: width)
  }

  public func writeBAR(_ bar: Int, offset: UInt64, width: Int, value: UInt64) {
    let changes = configuration.writeTable(bar: bar, offset: offset, width: width, value: value)
    if let changes {
      sink.apply(changes)
    } else {
      _ = host.write(region: bar, offset: offset, width: width, value: value)
    }
  }

  // MARK: Interrupts

  /// The physical vectors are on before a message is in place: what fires meanwhile waits in its
  /// eventfd. On the way out the messages go first, for the same reason.
  private func vectorRegistersChanged() {
    let changes = configuration.refreshVectors()
    sink.apply(changes.filter { $0.message == nil })
    updateInterrupts()
    sink.apply(changes.filter { $0.message != nil })
  }

  private var wantedMode: InterruptMode.Mode {
    if let msix = configuration.msix, msix.isEnabled(in: configuration.space) {
      return .msix(min(msix.vectorCount, host.vectorCount(.msix)))
    }
    if let msi = configuration.msi, msi.isEnabled(in: configuration.space) {
      return .msi(
        min(msi.enabledVectorCount(in: configuration.space), host.vectorCount(.msi)))
    }
    return configuration.interruptPin != 0 ? .line : .none
  }

  private func updateInterrupts() {
    for action in interrupts.change(to: wantedMode) {
      do throws(VFIOError) {
        switch action {
        case .disable(let kind): try disable(kind)
        case .enable(let mode): try enable(mode)
        }
      } catch {
        if case .enable = action { interrupts.failed() }
        sink.report("\(error)")
      }
    }
  }

  private func disable(_ kind: InterruptKind) throws(VFIOError) {
    defer { if kind == .intx { sink.disconnectLine() } }
    try host.disable(kind)
  }

  private func enable(_ mode: InterruptMode.Mode) throws(VFIOError) {
    switch mode {
    case .none: break
    case .line: try enableLine()
    case .msi(let count): try enable(.msi, count)
    case .msix(let count): try enable(.msix, count)
    }
  }

  private func enable(_ kind: InterruptKind, _ count: Int) throws(VFIOError) {
    let events = (0..<count).map { sink.eventDescriptor(vector: $0) }
    do {
      try host.enable(kind, events: events)
    } catch .tooFewVectors(_, _, let available) where available > 0 {
      try host.enable(kind, events: Array(events.prefix(available)))
      sink.report("the host has \(available) of \(count) vectors for \(kind): the rest is dead")
    }
  }

  private func enableLine() throws(VFIOError) {
    guard let line = sink.connectLine(pin: configuration.interruptPin) else {
      interrupts.failed()
      return
    }
    do {
      try host.enable(.intx, events: [line.trigger])
      try host.unmaskLine(by: line.resample)
    } catch {
      // The kernel enables messages only while the line is off. It may not have been on.
      do { try host.disable(.intx) } catch { sink.report("\(error)") }
      sink.disconnectLine()
      throw error
    }
  }
}
