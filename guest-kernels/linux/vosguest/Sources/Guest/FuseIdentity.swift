// SPDX-License-Identifier: Apache-2.0
import CGuest

/// Whom the calling thread acts for in the export's file system.
///
/// The client's kernel has checked permissions; what is left to know here is whose a new file is,
/// and whose quota and reserve a write uses. An identity lasts until the thread takes another, so
/// a thread that serves one user's writes changes nothing between them. Whoever needs root's rights
/// says so first.
enum Identity {
  /// Root, with all rights: names, attributes, handles.
  static func root() -> Int { Int(guest_act(0, 0, 0)) }

  /// Makes files that belong to `uid` and `gid`, in any directory.
  static func maker(_ uid: UInt32, _ gid: UInt32) -> Int {
    Int(guest_act(uid, gid, guest_maker_rights()))
  }

  /// Changes the contents of files that are open: without rights, so that this domain's kernel
  /// counts the space as the user's, keeps root's reserve, and takes set-user-id bits away.
  static func writer(_ uid: UInt32, _ gid: UInt32) -> Int {
    // The kernel's own requests (writing mapped pages back) are nobody's.
    uid == .max ? root() : Int(guest_act(uid, gid, 0))
  }
}
