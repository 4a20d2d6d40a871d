// SPDX-License-Identifier: Apache-2.0
import CGuest
import Synchronization

/// Room that a removed file is about to give back.
///
/// On a local disk it is free when `unlink` or `close` returns. Here the client's kernel lets go of a
/// file by messages of their own (RELEASE, FORGET), which nobody waits for: a call that finds the
/// disk full a moment after a removal tries again until they may have come.
struct FuseSpace: ~Copyable {
  /// Most milliseconds from a removal to a message that waits for its space.
  private static let interval: UInt64 = 2000
  /// Milliseconds before each further try.
  private static let pauses: [UInt32] = [1, 4, 16, 64, 128]

  /// When the last removal was asked for, in milliseconds; 0 before the first.
  private let lastRemoval = Atomic<UInt64>(0)

  /// Takes note of a message.
  func note(_ opcode: UInt32) {
    switch fuse_opcode(opcode) {
    case FUSE_UNLINK, FUSE_RMDIR, FUSE_RENAME, FUSE_RENAME2:
      lastRemoval.store(System.milliseconds(), ordering: .relaxed)
    default: break
    }
  }

  /// Does `attempt`, again where it finds no space but some may be coming.
  func awaited(_ attempt: () -> Int?) -> Int? {
    var result = attempt()
    for pause in Self.pauses {
      guard result == Failure.noSpace, isComing else { break }
      System.sleep(milliseconds: pause)
      result = attempt()
    }
    return result
  }

  private var isComing: Bool {
    let last = lastRemoval.load(ordering: .relaxed)
    return last != 0 && System.milliseconds() &- last < Self.interval
  }
}
