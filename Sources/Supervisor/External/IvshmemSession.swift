// SPDX-License-Identifier: Apache-2.0
import CVosABI

/// A message of QEMU's ivshmem server protocol (QEMU docs/specs/ivshmem-spec, "Client-Server
/// protocol"): a number of eight bytes, little endian, and at most one descriptor with it.
struct IvshmemMessage: Equatable, Sendable {
  /// What travels with a number.
  enum Attachment: Equatable, Sendable {
    /// The shared memory.
    case region
    /// The doorbell of peer `VOS_PEER_*`.
    case bell(UInt32)
  }

  var number: Int64
  var attachment: Attachment?

  var bytes: [UInt8] {
    (0..<8).map { UInt8(truncatingIfNeeded: number >> (8 * $0)) }
  }
}

/// What a server says to one client of one channel, from the first word to the last. Pure.
///
/// The client is told its own id, the region, and one doorbell for each of the channel's three
/// peers, its own last; then nothing more. Doorbells live as long as the channel, like those of our
/// own monitors: who is there and who is not stands in the superblock, and whoever writes it there
/// rings. The protocol's own word for that, an id without a doorbell, is never sent: QEMU (7.2,
/// hw/misc/ivshmem.c, close_peer_eventfds) frees the peer's doorbells then and writes to what it
/// freed when the same id comes back; and ids do come back here, for they say who is client and
/// who is service.
struct IvshmemSession: Equatable, Sendable {
  /// Of the protocol.
  static let version: Int64 = 0
  /// The number that the region comes with.
  static let regionNumber: Int64 = -1

  private var queue: ArraySlice<IvshmemMessage>

  /// - Parameter peer: the id that the client gets, of `VOS_PEER_*`.
  init(peer: UInt32) {
    let others = [VOS_PEER_CLIENT, VOS_PEER_SERVICE, VOS_PEER_HOST].filter { $0 != peer }
    let bells = (others + [peer]).map {
      IvshmemMessage(number: Int64($0), attachment: .bell($0))
    }
    queue =
      [
        IvshmemMessage(number: Self.version), IvshmemMessage(number: Int64(peer)),
        IvshmemMessage(number: Self.regionNumber, attachment: .region),
      ] + bells
  }

  /// The message to send now; `nil` when all is said.
  var next: IvshmemMessage? { queue.first }

  /// `next` was sent.
  mutating func advance() { queue = queue.dropFirst() }
}
