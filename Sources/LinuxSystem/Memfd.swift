// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc

extension OwnedDescriptor {
  /// Anonymous memory of a fixed size that several processes may map: a memfd whose size is
  /// sealed, so that no holder can make another one fault by shrinking it.
  ///
  /// - Parameter hugePages: back it with huge pages of the default size.
  public static func sharedMemory(
    name: String, byteCount: Int, hugePages: Bool = false
  ) throws(SystemCallError) -> OwnedDescriptor {
    let flags =
      CLINUX_MFD_CLOEXEC | CLINUX_MFD_ALLOW_SEALING | (hugePages ? CLINUX_MFD_HUGETLB : 0)
    let number = try retrying("create memory \(name)") {
      // SAFETY: the string outlives the call, which only reads it.
      unsafe clinux_memfd_create(name, flags)
    }
    let memory = OwnedDescriptor(owning: number)
    try retrying("size memory \(name) to \(byteCount) bytes") {
      ftruncate(memory.rawValue, byteCount)
    }
    let seals = CLINUX_F_SEAL_SHRINK | CLINUX_F_SEAL_GROW | CLINUX_F_SEAL_SEAL
    try retrying("seal memory \(name)") {
      clinux_fcntl(memory.rawValue, CLINUX_F_ADD_SEALS, Int(seals))
    }
    return memory
  }

  /// Like `sharedMemory`, holding `bytes`.
  public static func sharedMemory(
    name: String, containing bytes: [UInt8]
  ) throws(SystemCallError) -> OwnedDescriptor {
    let memory = try sharedMemory(name: name, byteCount: bytes.count)
    try memory.write(all: bytes)
    return memory
  }
}
