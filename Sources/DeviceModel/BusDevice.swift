// SPDX-License-Identifier: Apache-2.0

/// A device as the bus sees it: offsets and bytes, never addresses, descriptors or KVM.
///
/// Accesses are 1, 2, 4 or 8 bytes wide. A device answers every access: what it does not know
/// reads as `UInt64.max` cut to the width, and writes to it are dropped.
///
/// The caller serialises accesses to one device; a device needs no lock of its own.
public protocol BusDevice: AnyObject {
  /// Reads `width` bytes at `offset` from the start of the device's window.
  func read(offset: UInt64, width: Int) -> UInt64
  /// Writes the low `width` bytes of `value` at `offset` from the start of the device's window.
  func write(offset: UInt64, width: Int, value: UInt64)
}

/// A level-triggered interrupt line, or an edge when raised and lowered at once.
public protocol InterruptLine: AnyObject {
  /// Drives the line to `level`.
  func set(level: Bool)
}

extension InterruptLine {
  /// Raises one edge.
  public func pulse() {
    set(level: true)
    set(level: false)
  }
}

/// Where a device sends message-signalled interrupts.
public protocol MessageInterruptSink: AnyObject {
  /// Tells that vector `vector` of the device is now described by `message`, or is masked (`nil`).
  func configure(vector: Int, message: InterruptMessage?)
  /// Raises vector `vector` once.
  func raise(vector: Int)
}

/// An MSI message as the device writes it (PCI Local Bus 3.0, 6.8.1).
public struct InterruptMessage: Equatable, Sendable {
  /// 64-bit address.
  public var address: UInt64
  /// 32-bit data.
  public var data: UInt32

  public init(address: UInt64, data: UInt32) {
    self.address = address
    self.data = data
  }
}

/// Where a device writes bytes for the outside, such as a console.
public protocol ByteSink: AnyObject {
  /// Takes one byte; never blocks.
  func put(_ byte: UInt8)
}

/// Wall-clock time for devices.
public protocol Clock: AnyObject {
  /// Seconds since 1970-01-01 00:00:00 UTC.
  var secondsSinceEpoch: Int64 { get }
}
