// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Channel

/// Whose rights a call on sockets is executed with: never this daemon's, always the caller's.
///
/// The client's kernel is trusted to know its processes' capabilities and says them in the calls of
/// slice 0. Its programs are not: what they post on slices of their own runs without any. This
/// domain's kernel then checks each call as if the caller had made it, so nothing here has to know
/// what takes a right (raw sockets, low ports, IPV6_HOPOPTS, SO_MARK, IP_TRANSPARENT, …).
struct Rights: OptionSet {
  let rawValue: UInt32

  static let bindService = Rights(rawValue: VOS_RIGHT_BIND_SERVICE)
  static let raw = Rights(rawValue: VOS_RIGHT_RAW)
  static let admin = Rights(rawValue: VOS_RIGHT_ADMIN)

  /// The capability behind each (include/uapi/linux/capability.h).
  private static let capabilities: [(right: Rights, capability: UInt32)] = [
    (.bindService, 10), (.admin, 12), (.raw, 13),
  ]

  /// What the caller of this request may.
  init(of request: Request) {
    let call = request.call
    let word: UInt64
    switch UInt32(call.number) {
    case VOS_CALL_SOCKET: word = call.arguments.1 >> 32
    case VOS_CALL_BIND, VOS_CALL_SETSOCKOPT, VOS_CALL_SENDMSG: word = call.arguments.2
    default: word = 0
    }
    rawValue = request.slice == 0 ? UInt32(truncatingIfNeeded: word) : 0
  }

  init(rawValue: UInt32) { self.rawValue = rawValue }

  /// Gives the calling thread these rights and no others of their kind; false if it cannot.
  func assume() -> Bool {
    var kept: UInt32 = 0
    for (right, capability) in Self.capabilities where contains(right) { kept |= 1 << capability }
    return guest_keep_rights(Self.all, kept) == 0
  }

  private static let all = capabilities.reduce(UInt32(0)) { $0 | 1 << $1.capability }
}
