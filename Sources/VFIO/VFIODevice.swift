// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
public import LinuxSystem

/// A PCI function that user space drives.
public struct VFIODevice: ~Copyable, Sendable {
  public let descriptor: OwnedDescriptor
  /// Whether `reset` works.
  public let canReset: Bool
  /// Regions that may be asked for.
  public let regionCount: Int
  /// Kinds of interrupt that may be asked for.
  public let interruptKindCount: Int

  /// Takes an open device and asks what it is.
  public init(owning descriptor: consuming OwnedDescriptor) throws(VFIOError) {
    var answer = AnswerBuffer(byteCount: 16)
    try answer.call(
      descriptor.rawValue, CLINUX_VFIO_DEVICE_GET_INFO, "ask what the VFIO device is")
    guard answer.flags & UInt32(VFIO_DEVICE_FLAGS_PCI) != 0 else { throw .notPCI }
    canReset = answer.flags & UInt32(VFIO_DEVICE_FLAGS_RESET) != 0
    regionCount = Int(answer.value32(8))
    interruptKindCount = Int(answer.value32(12))
    self.descriptor = descriptor
  }

  // MARK: Regions

  /// Asks for region `index`; one that the function does not have is empty.
  public func region(_ index: Int) throws(VFIOError) -> RegionInfo {
    guard index < regionCount else { return RegionInfo(index: index, byteCount: 0) }
    var answer = AnswerBuffer(byteCount: 32)
    answer.set(8, to: UInt32(truncatingIfNeeded: index))
    try answer.exchange(
      descriptor.rawValue, CLINUX_VFIO_DEVICE_GET_REGION_INFO, "ask for VFIO region \(index)")
    return try RegionInfo(answer, index: index)
  }

  /// Reads `width` (1, 2, 4 or 8) bytes at `offset` of `region`; `nil` if nothing answers.
  public func read(_ region: RegionInfo, offset: UInt64, width: Int) -> UInt64? {
    guard let place = Self.place(region, offset, width), region.isReadable else { return nil }
    var value: UInt64 = 0
    // SAFETY: at most eight bytes, checked by `place`, go to a local of eight.
    let count = unsafe pread(descriptor.rawValue, &value, width, place)
    return count == width ? value : nil
  }

  /// Writes `width` (1, 2, 4 or 8) bytes at `offset` of `region`; false if the device does not take
  /// them.
  public func write(_ region: RegionInfo, offset: UInt64, width: Int, value: UInt64) -> Bool {
    guard let place = Self.place(region, offset, width), region.isWritable else { return false }
    var value = value
    // SAFETY: at most eight bytes, checked by `place`, come from a local of eight.
    return unsafe pwrite(descriptor.rawValue, &value, width, place) == width
  }

  private static func place(_ region: RegionInfo, _ offset: UInt64, _ width: Int) -> Int? {
    guard
      (1...8).contains(width), region.byteCount >= UInt64(width),
      offset <= region.byteCount - UInt64(width)
    else { return nil }
    return Int(exactly: region.fileOffset &+ offset)
  }

  /// Maps a part of a region; `range` must lie in one of its `mappable` ranges or be that range
  /// rounded up to pages.
  public func map(
    _ region: RegionInfo, range: Range<UInt64>
  ) throws(VFIOError) -> SharedMapping {
    guard let offset = Int(exactly: region.fileOffset &+ range.lowerBound) else {
      throw .malformed("a region's offset")
    }
    return try vfioCall { () throws(SystemCallError) in
      try SharedMapping(
        descriptor, byteCount: range.count, offset: offset, writable: region.isWritable)
    }
  }

  // MARK: Interrupts

  /// Asks for the interrupts of `kind`; `nil` if the kernel does not know the kind here.
  public func interrupts(_ kind: InterruptKind) -> InterruptInfo? {
    guard Int(kind.rawValue) < interruptKindCount else { return nil }
    var answer = AnswerBuffer(byteCount: 16)
    answer.set(8, to: kind.rawValue)
    do {
      try answer.call(
        descriptor.rawValue, CLINUX_VFIO_DEVICE_GET_IRQ_INFO, "ask for interrupts \(kind)")
    } catch {
      return nil  // vfio-pci refuses the error kind for functions that are not PCI Express
    }
    return InterruptInfo(answer, kind: kind)
  }

  /// Ties an eventfd to each vector from `start` on; `nil` leaves a vector without one.
  ///
  /// The first call for MSI or MSI-X enables the kind with that many vectors. ERR and REQ have one
  /// vector. Throws `tooFewVectors` if the host cannot give that many; nothing is enabled then.
  public func signal(
    _ kind: InterruptKind, start: Int = 0, events: [Int32?]
  ) throws(VFIOError) {
    try setInterrupts(
      kind, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_TRIGGER, start: start,
      count: events.count, data: events.map { $0 ?? -1 }, "tie eventfds to interrupts \(kind)")
  }

  /// Unmasks INTx whenever `event` is rung: tie KVM's resampling descriptor here.
  public func unmaskLine(by event: Int32) throws(VFIOError) {
    try setInterrupts(
      .intx, VFIO_IRQ_SET_DATA_EVENTFD | VFIO_IRQ_SET_ACTION_UNMASK, start: 0, count: 1,
      data: [event], "tie an eventfd to INTx's unmasking")
  }

  /// Unmasks INTx now.
  public func unmaskLine() throws(VFIOError) {
    try setInterrupts(
      .intx, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_UNMASK, start: 0, count: 1, data: [],
      "unmask INTx")
  }

  /// Makes interrupt `vector` of `kind` fire, as if the device had.
  public func trigger(_ kind: InterruptKind, vector: Int = 0) throws(VFIOError) {
    try setInterrupts(
      kind, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, start: vector, count: 1,
      data: [], "trigger an interrupt of \(kind)")
  }

  /// Disables `kind` and lets go of its eventfds.
  public func disable(_ kind: InterruptKind) throws(VFIOError) {
    try setInterrupts(
      kind, VFIO_IRQ_SET_DATA_NONE | VFIO_IRQ_SET_ACTION_TRIGGER, start: 0, count: 0, data: [],
      "disable interrupts \(kind)")
  }

  private func setInterrupts(
    _ kind: InterruptKind, _ flags: Int32, start: Int, count: Int, data: [Int32],
    _ operation: String
  ) throws(VFIOError) {
    let dataOffset = 20
    var request = AnswerBuffer(byteCount: dataOffset + 4 * data.count)
    request.set(4, to: UInt32(flags))
    request.set(8, to: kind.rawValue)
    request.set(12, to: UInt32(truncatingIfNeeded: start))
    request.set(16, to: UInt32(truncatingIfNeeded: count))
    for (index, number) in data.enumerated() {
      request.set(dataOffset + 4 * index, to: UInt32(bitPattern: number))
    }
    let available = try request.call(
      descriptor.rawValue, CLINUX_VFIO_DEVICE_SET_IRQS, operation)
    // A positive answer is the number of vectors that could be had, and none was taken.
    guard available == 0 else {
      throw .tooFewVectors(kind: kind, asked: count, available: Int(available))
    }
  }

  // MARK: Reset

  /// Resets the function alone, by whatever method the kernel has for it.
  public func reset() throws(VFIOError) {
    guard clinux_ioctl(descriptor.rawValue, CLINUX_VFIO_DEVICE_RESET, 0) == 0 else {
      throw .call(lastError("reset the VFIO device"))
    }
  }

  /// The functions that a reset of the function's bus or slot resets, itself among them; `nil` if
  /// there is no such reset (ENODEV).
  public func hotResetScope() throws(VFIOError) -> [DependentFunction]? {
    // The kernel answers a short buffer with ENOSPC and the count, unlike the other questions.
    let headerByteCount = 12
    let entryByteCount = 8
    var answer = AnswerBuffer(byteCount: headerByteCount)
    let operation = "ask for the scope of a hot reset"
    do {
      try answer.call(
        descriptor.rawValue, CLINUX_VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, operation)
    } catch .call(let error) where error.errno.rawValue == ENODEV {
      return nil
    } catch .call(let error) where error.errno.rawValue == ENOSPC {
      let count = min(Int(answer.value32(8)), 1 << 12)
      answer = AnswerBuffer(byteCount: headerByteCount + entryByteCount * count)
      try answer.call(
        descriptor.rawValue, CLINUX_VFIO_DEVICE_GET_PCI_HOT_RESET_INFO, operation)
    }
    return try DependentFunction.decode(answer)
  }

  /// Resets the function's bus or slot. `groups` are the descriptors of all groups affected.
  public func hotReset(groups: [Int32]) throws(VFIOError) {
    let headerByteCount = 12
    var request = AnswerBuffer(byteCount: headerByteCount + 4 * groups.count)
    request.set(8, to: UInt32(truncatingIfNeeded: groups.count))
    for (index, number) in groups.enumerated() {
      request.set(headerByteCount + 4 * index, to: UInt32(bitPattern: number))
    }
    try request.call(
      descriptor.rawValue, CLINUX_VFIO_DEVICE_PCI_HOT_RESET, "hot-reset the VFIO device")
  }
}
