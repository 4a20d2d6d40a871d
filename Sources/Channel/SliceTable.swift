// SPDX-License-Identifier: Apache-2.0
import CVosABI

/// Whom a slice belongs to (`VOS_SLICE_*`).
public enum SliceState: UInt32, Sendable {
  case free = 0
  case live = 1
  /// Its process is gone; the service lets go of all it held.
  case dead = 2
}

/// A copy of a slice table entry, which the client's kernel writes.
public struct SliceEntry: Equatable, Sendable {
  public var state: SliceState
  /// Goes up each time the slice is given out.
  public var generation: UInt32
  /// In the client, for people to read.
  public var pid: UInt32
  /// Real ids of the process when it took the slice.
  public var uid: UInt32
  public var gid: UInt32

  public init(
    state: SliceState, generation: UInt32, pid: UInt32 = 0, uid: UInt32 = 0, gid: UInt32 = 0
  ) {
    self.state = state
    self.generation = generation
    self.pid = pid
    self.uid = uid
    self.gid = gid
  }
}

extension ChannelRegion {
  private func entryOffset(_ index: Int) -> Int {
    precondition(index >= 0 && index < geometry.sliceCount)
    return geometry.sliceTableOffset + index * Geometry.lineBytes
  }

  /// Copies entry `index`; a state that does not exist counts as dead.
  public func sliceEntry(_ index: Int) -> SliceEntry {
    let at = entryOffset(index)
    // SAFETY: words of one entry, within the checked table.
    return SliceEntry(
      state: SliceState(rawValue: unsafe vos_load_acquire32(word32(at))) ?? .dead,
      generation: unsafe vos_load_acquire32(word32(at + 4)),
      pid: unsafe vos_load_acquire32(word32(at + 8)),
      uid: unsafe vos_load_acquire32(word32(at + 12)),
      gid: unsafe vos_load_acquire32(word32(at + 16)))
  }

  /// Writes entry `index` (the client's kernel, or the host on a control channel); the state goes
  /// last. Ring the service's doorbell after it: a slice that changes hands may have lost the
  /// service's announcement that it sleeps.
  public func publish(_ entry: SliceEntry, slice index: Int) {
    let at = entryOffset(index)
    // SAFETY: words of one entry, within the checked table.
    unsafe vos_store_release32(word32(at + 8), entry.pid)
    unsafe vos_store_release32(word32(at + 12), entry.uid)
    unsafe vos_store_release32(word32(at + 16), entry.gid)
    unsafe vos_store_release32(word32(at + 4), entry.generation)
    unsafe vos_store_release32(word32(at), entry.state.rawValue)
  }

  /// The last generation of slice `index` of which the service holds nothing any more.
  public func releasedGeneration(slice index: Int) -> UInt32 {
    slice(index).releasedGeneration
  }
}
