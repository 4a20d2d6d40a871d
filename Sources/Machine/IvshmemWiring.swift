// SPDX-License-Identifier: Apache-2.0
internal import Ivshmem
internal import KVM
internal import LaunchPlan
internal import LinuxSystem
internal import PCI

/// What lies behind one channel's function: the region's mapping and the other peers' eventfds.
final class ChannelBacking: BARBacking, IvshmemHost {
  private let region: SharedMapping
  private let remotes: [UInt16: [SharedEvent]]
  private let log: Log
  private let slot: Int

  init(
    region: consuming SharedMapping, remotes: [UInt16: [SharedEvent]], slot: Int, log: Log
  ) {
    self.region = region
    self.remotes = remotes
    self.slot = slot
    self.log = log
  }

  @unsafe
  func hostAddress(ofBAR bar: Int, _ range: DirectRange) -> UnsafeMutableRawPointer? {
    guard bar == IvshmemFunction.regionBAR, let offset = Int(exactly: range.offset),
      let count = Int(exactly: range.byteCount), region.covers(offset, count)
    else { return nil }
    // SAFETY: the range was checked to lie within the mapping.
    return unsafe region.baseAddress + offset
  }

  func event(ofBAR bar: Int, _ doorbell: PCI.Doorbell) -> SharedEvent? {
    guard bar == IvshmemFunction.registerBAR else { return nil }
    let (peer, vector) = IvshmemFunction.peerAndVector(of: doorbell)
    return event(peer, vector)
  }

  private func event(_ peer: UInt16, _ vector: Int) -> SharedEvent? {
    guard let events = remotes[peer], events.indices.contains(vector) else { return nil }
    return events[vector]
  }

  func ring(peer: UInt16, vector: Int) { event(peer, vector)?.event.ring() }

  func droppedWrite(offset: UInt64) {
    log.warn("channel in slot \(slot): write to read-only offset 0x\(String(offset, radix: 16))")
  }
}

/// One channel as the machine holds it.
struct Channel {
  let function: IvshmemFunction
  let backing: ChannelBacking
}

extension Channel {
  /// Builds the channel of `plan` from its descriptors.
  init(
    _ plan: LaunchPlan.Ivshmem, _ descriptors: DescriptorList, _ vm: SharedVM, log: Log
  ) throws(MachineError) {
    let vectors = MessageVectors(vm, log: log)
    for index in plan.vectors {
      let event = EventDescriptor(owning: try descriptors.required(index, "doorbell vector"))
      do throws(KVMError) { try vectors.append(event) } catch { throw .kvm(error) }
    }
    var remotes: [UInt16: [SharedEvent]] = [:]
    for remote in plan.remotes {
      for index in remote.vectors {
        let event = EventDescriptor(owning: try descriptors.required(index, "peer's doorbell"))
        remotes[remote.peer, default: []].append(SharedEvent(event))
      }
    }
    let region = try Self.map(plan, descriptors)
    backing = ChannelBacking(region: region, remotes: remotes, slot: plan.slot, log: log)
    do throws(IvshmemError) {
      let layout = try IvshmemLayout(
        regionByteCount: plan.regionBytes, peer: plan.peer, vectorCount: plan.vectors.count,
        remotes: remotes.mapValues(\.count),
        readOnly: plan.readOnly.map { $0.offset..<($0.offset + $0.byteCount) })
      function = try IvshmemFunction(layout, sink: vectors, host: backing)
    } catch {
      throw .ivshmem(slot: plan.slot, error)
    }
  }

  private static func map(
    _ plan: LaunchPlan.Ivshmem, _ descriptors: DescriptorList
  ) throws(MachineError) -> SharedMapping {
    let memory = try descriptors.required(plan.region, "channel region")
    let actual: Int
    do throws(SystemCallError) { actual = try memory.byteCount() } catch { throw .system(error) }
    guard actual == Int(plan.regionBytes) else {
      throw MachineError.descriptor(
        "channel in slot \(plan.slot): region has \(actual) bytes, not \(plan.regionBytes)")
    }
    do throws(SystemCallError) {
      return try SharedMapping(memory, byteCount: actual)
    } catch {
      throw .system(error)
    }
  }
}

extension DescriptorList {
  /// Takes descriptor `index`, which the plan promised.
  func required(_ index: Int, _ what: String) throws(MachineError) -> OwnedDescriptor {
    guard let descriptor = take(index) else {
      throw .descriptor("\(what): descriptor \(index) did not come")
    }
    return descriptor
  }
}
