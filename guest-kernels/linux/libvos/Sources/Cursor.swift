// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

/// The program's memory of one call: a vector list and how far it is used.
@safe
struct Cursor {
  private let vectors: UnsafePointer<libvos_vector>
  private let count: Int
  private var index = 0
  private var offset = 0
  /// Bytes of all vectors together; at most what one call may move.
  let total: Int

  /// Nil for what the kernel should judge: no vectors, too many, a missing buffer, a sum that
  /// overflows, nothing to move, or more than one call moves.
  init?(_ vectors: UnsafePointer<libvos_vector>?, _ count: Int) {
    guard let vectors = unsafe vectors, count > 0, count <= Int(Linux.vectorLimit) else {
      return nil
    }
    var sum = 0
    for index in 0..<count {
      // SAFETY: the caller promised `count` vectors, as it would the kernel.
      let vector = unsafe vectors[index]
      guard unsafe vector.length <= Linux.transferLimit,
        unsafe vector.base != nil || vector.length == 0
      else { return nil }
      sum = unsafe sum &+ vector.length
      guard sum <= Linux.transferLimit else { return nil }
    }
    guard sum > 0 else { return nil }
    unsafe self.vectors = unsafe vectors
    self.count = count
    total = sum
  }

  /// The next run of contiguous memory, at most `limit` bytes; nil at the end.
  mutating func next(_ limit: Int) -> UnsafeMutableRawBufferPointer? {
    while index < count {
      // SAFETY: index is below the count; the vector's memory is the program's promise.
      let vector = unsafe vectors[index]
      let left = unsafe vector.length &- offset
      guard left > 0, let base = unsafe vector.base else {
        index = index &+ 1
        offset = 0
        continue
      }
      let length = min(left, limit)
      let run = unsafe UnsafeMutableRawBufferPointer(start: base + offset, count: length)
      offset = offset &+ length
      return unsafe run
    }
    return nil
  }

  /// Moves `bytes` from the program's memory to `place`.
  mutating func take(_ bytes: Int, to place: UnsafeMutableRawPointer) {
    var done = 0
    while done < bytes, let run = unsafe next(bytes &- done) {
      // SAFETY: `place` has room for `bytes`, the run is what the program named.
      unsafe libvos_copy(place + done, run.baseAddress, run.count)
      done = done &+ run.count
    }
  }

  /// Moves `bytes` from `place` to the program's memory.
  mutating func give(_ bytes: Int, from place: UnsafeMutableRawPointer) {
    var done = 0
    while done < bytes, let run = unsafe next(bytes &- done) {
      // SAFETY: as above, the other way.
      unsafe libvos_copy(run.baseAddress, place + done, run.count)
      done = done &+ run.count
    }
  }

  /// Goes `bytes` further.
  mutating func skip(_ bytes: Int) {
    var done = 0
    while done < bytes, let run = unsafe next(bytes &- done) { done = done &+ run.count }
  }
}
