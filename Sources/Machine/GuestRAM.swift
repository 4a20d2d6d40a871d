// SPDX-License-Identifier: Apache-2.0
internal import Boot
internal import DeviceModel
internal import Glibc
internal import KVM
internal import LinuxSystem

/// A domain's RAM: one shared mapping that appears below and above the hole under 4 GiB.
final class GuestRAM: GuestMemory, Sendable {
  let layout: RAMLayout
  private let mapping: SharedMapping

  /// Maps `memory`, which must be exactly `byteCount` bytes.
  init(
    _ memory: borrowing OwnedDescriptor, byteCount: UInt64, hugePages: Bool
  ) throws(MachineError) {
    let number = memory.rawValue
    let actual = try asSystem { () throws(SystemCallError) in try memory.byteCount() }
    guard actual == Int(byteCount) else {
      throw .descriptor("guest memory (descriptor \(number)) has \(actual) bytes, not \(byteCount)")
    }
    layout = RAMLayout(byteCount: byteCount)
    mapping = try asSystem { () throws(SystemCallError) in
      try SharedMapping(memory, byteCount: Int(byteCount))
    }
    // SAFETY: advice about a range that this object has mapped. Neither piece of advice is vital:
    // guest memory stays out of core dumps, and gets huge pages where the kernel has them.
    unsafe madvise(mapping.baseAddress, mapping.byteCount, MADV_DONTDUMP)
    if hugePages {
      unsafe madvise(mapping.baseAddress, mapping.byteCount, MADV_HUGEPAGE)
    }
  }

  /// One stretch of RAM: where the guest sees it and where it lies in the mapping.
  struct Stretch {
    let guestAddress: UInt64
    let offset: UInt64
    let byteCount: UInt64
  }

  /// The stretches, low RAM first.
  var stretches: [Stretch] {
    let low = Stretch(guestAddress: 0, offset: 0, byteCount: layout.lowByteCount)
    guard layout.highByteCount > 0 else { return [low] }
    return [
      low,
      Stretch(
        guestAddress: Platform.highRAMBase, offset: layout.lowByteCount,
        byteCount: layout.highByteCount),
    ]
  }

  /// Where a stretch lies in this process, for memory slots and DMA maps; valid while the RAM lives.
  @unsafe
  func hostAddress(of stretch: Stretch) -> UnsafeMutableRawPointer {
    // SAFETY: stretches lie within the mapping.
    unsafe mapping.baseAddress + Int(stretch.offset)
  }

  /// The mapping's offset of a guest-physical range that lies within one stretch.
  private func offset(of address: UInt64, _ byteCount: Int) throws(GuestMemoryError) -> Int {
    for stretch in stretches where address >= stretch.guestAddress && byteCount >= 0 {
      let inside = address - stretch.guestAddress
      if inside <= stretch.byteCount, UInt64(byteCount) <= stretch.byteCount - inside {
        return Int(stretch.offset + inside)
      }
    }
    throw GuestMemoryError(address: address, byteCount: byteCount)
  }

  func write(_ bytes: Span<UInt8>, at address: UInt64) throws(GuestMemoryError) {
    guard mapping.copy(bytes, to: try offset(of: address, bytes.count)) else {
      throw GuestMemoryError(address: address, byteCount: bytes.count)
    }
  }

  func read(at address: UInt64, byteCount: Int) throws(GuestMemoryError) -> [UInt8] {
    guard let bytes = mapping.copy(from: try offset(of: address, byteCount), count: byteCount)
    else { throw GuestMemoryError(address: address, byteCount: byteCount) }
    return bytes
  }
}

/// A file that was passed as a descriptor, read piece by piece.
final class DescriptorImage: ImageSource {
  let name: String
  let byteCount: UInt64
  private let descriptor: OwnedDescriptor

  init(_ name: String, _ descriptor: consuming OwnedDescriptor) throws(MachineError) {
    self.name = name
    let count: Int
    do throws(SystemCallError) { count = try descriptor.byteCount() } catch {
      throw .system(error)
    }
    byteCount = UInt64(max(0, count))
    self.descriptor = descriptor
  }

  func read(at offset: UInt64, byteCount count: Int) throws(BootError) -> [UInt8] {
    var bytes: [UInt8] = []
    while bytes.count < count {
      do throws(SystemCallError) {
        let piece = try descriptor.read(
          maximum: count - bytes.count, at: Int(offset) + bytes.count)
        // One piece is the rule; only then is nothing copied.
        bytes = bytes.isEmpty ? piece : bytes + piece
        if piece.isEmpty { break }
      } catch {
        throw .unreadable(image: name, reason: "\(error)")
      }
    }
    return bytes
  }
}
