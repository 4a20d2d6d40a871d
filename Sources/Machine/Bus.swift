// SPDX-License-Identifier: Apache-2.0
internal import DeviceModel
internal import Synchronization

/// A device with the lock that serialises its accesses.
///
/// Lock order: a device's lock comes before the PCI bus's, which comes before the interrupt routing's.
final class LockedDevice: @unchecked Sendable {
  // @unchecked: the device is used only with the lock held.
  private let device: any BusDevice
  private let lock = Mutex(())

  init(_ device: any BusDevice) {
    self.device = device
  }

  func read(offset: UInt64, width: Int) -> UInt64 {
    lock.withLock { _ in device.read(offset: offset, width: width) }
  }

  func write(offset: UInt64, width: Int, value: UInt64) {
    lock.withLock { _ in device.write(offset: offset, width: width, value: value) }
  }

  /// Runs `body` while no guest access to the device is under way.
  func withLock<R: Sendable>(_ body: () -> R) -> R {
    lock.withLock { _ in body() }
  }
}

/// Addresses (or ports) and the devices that answer there; it does not change once the guest runs.
///
/// Where nothing answers, reads give ones and writes are dropped.
struct Bus: Sendable {
  private struct Entry: Sendable {
    let range: Range<UInt64>
    let device: LockedDevice
  }

  private let what: String
  /// By rising addresses, apart.
  private var entries: [Entry] = []

  /// - Parameter what: what its addresses are called in errors.
  init(_ what: String) {
    self.what = what
  }

  /// Has `device` answer at `range`.
  mutating func insert(_ device: LockedDevice, at range: Range<UInt64>) throws(MachineError) {
    guard !range.isEmpty else { return }
    let index = entries.firstIndex { $0.range.lowerBound >= range.lowerBound } ?? entries.count
    let after = index < entries.count ? entries[index].range.lowerBound : .max
    let before = index > 0 ? entries[index - 1].range.upperBound : 0
    guard before <= range.lowerBound, range.upperBound <= after else {
      let first = String(range.lowerBound, radix: 16)
      throw .overlap("\(what) 0x\(first)")
    }
    entries.insert(Entry(range: range, device: device), at: index)
  }

  /// Has `device` answer at `count` addresses from `first` on; returns it with its lock.
  @discardableResult
  mutating func insert(
    _ device: any BusDevice, at first: UInt64, count: UInt64
  ) throws(MachineError) -> LockedDevice {
    let locked = LockedDevice(device)
    try insert(locked, at: first..<(first + count))
    return locked
  }

  func read(_ address: UInt64, width: Int) -> UInt64 {
    guard width.nonzeroBitCount == 1 else { return readBytes(address, width) }
    guard let entry = entry(address, width) else { return Self.ones(width) }
    return entry.device.read(offset: address - entry.range.lowerBound, width: width)
  }

  func write(_ address: UInt64, width: Int, value: UInt64) {
    guard width.nonzeroBitCount == 1 else { return writeBytes(address, width, value) }
    guard let entry = entry(address, width) else { return }
    entry.device.write(offset: address - entry.range.lowerBound, width: width, value: value)
  }

  /// KVM splits an access at a page's end, so three or five bytes may come.
  private func readBytes(_ address: UInt64, _ width: Int) -> UInt64 {
    var value: UInt64 = 0
    for index in 0..<min(max(0, width), 8) {
      value |= (read(address &+ UInt64(index), width: 1) & 0xFF) << UInt64(8 * index)
    }
    return value
  }

  private func writeBytes(_ address: UInt64, _ width: Int, _ value: UInt64) {
    for index in 0..<min(max(0, width), 8) {
      write(address &+ UInt64(index), width: 1, value: value >> UInt64(8 * index) & 0xFF)
    }
  }

  /// The entry that holds the whole access, by binary search.
  private func entry(_ address: UInt64, _ width: Int) -> Entry? {
    var low = 0
    var high = entries.count
    while low < high {
      let middle = (low + high) / 2
      if entries[middle].range.upperBound <= address { low = middle + 1 } else { high = middle }
    }
    guard low < entries.count, entries[low].range.contains(address),
      entries[low].range.upperBound - address >= UInt64(width)
    else { return nil }
    return entries[low]
  }

  private static func ones(_ width: Int) -> UInt64 {
    width >= 8 ? .max : (1 << UInt64(8 * width)) - 1
  }
}
