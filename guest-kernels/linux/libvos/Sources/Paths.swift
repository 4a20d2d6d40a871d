// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

/// Which paths look remote. A guess, made without a system call: a wrong yes costs one refused
/// ioctl at the first hot call, a wrong no (a symbolic link into the mount) leaves the file on
/// the kernel path.
enum Paths {
  private static let unknown: UInt32 = 0
  private static let local: UInt32 = 1
  private static let remote: UInt32 = 2
  private static let getWorkingDirectory = 79  // __NR_getcwd

  // SAFETY (all below): paths are the program's NUL-terminated strings, read as open reads them.

  static func looksRemote(_ directory: Int32, _ path: UnsafePointer<CChar>?) -> Bool {
    guard let path = unsafe path, unsafe libvos_mounts()[0] != 0 else { return false }
    if unsafe path[0] == slash { return unsafe isUnderMount(path) }
    if directory == Linux.currentDirectory { return isWorkingDirectoryRemote }
    // A folder that we saw being opened under the mount.
    return Hot.isRemote(directory)
  }

  private static let slash = CChar(bitPattern: UInt8(ascii: "/"))

  private static func isUnderMount(_ path: UnsafePointer<CChar>) -> Bool {
    var mount = unsafe UnsafePointer(libvos_mounts())
    while unsafe mount[0] != 0 {
      var length = 0
      while unsafe mount[length] != 0 && mount[length] == path[length] { length = length &+ 1 }
      if unsafe mount[length] == 0 && (path[length] == slash || path[length] == 0) { return true }
      while unsafe mount[length] != 0 { length = length &+ 1 }
      unsafe mount = unsafe mount + length + 1
    }
    return false
  }

  /// chdir is about to happen.
  static func forgetWorkingDirectory() {
    unsafe libvos_set().pointee.directory = unknown
  }

  private static var isWorkingDirectoryRemote: Bool {
    let known = unsafe libvos_set().pointee.directory
    if known != unknown { return known == remote }
    var buffer = InlineArray<512, UInt64>(repeating: 0)
    let found = unsafe withUnsafeMutableBytes(of: &buffer) { bytes in
      // The raw call: libc's getcwd may allocate. The last byte stays zero.
      let length = unsafe real().pointee.syscall(
        getWorkingDirectory, Int(bitPattern: bytes.baseAddress), bytes.count &- 1, 0, 0, 0, 0)
      guard length > 0, let start = bytes.baseAddress else { return false }
      return unsafe isUnderMount(start.assumingMemoryBound(to: CChar.self))
    }
    unsafe libvos_set().pointee.directory = found ? remote : local
    return found
  }
}

/// The mount points, from the environment or from what init wrote down.
enum Mounts {
  private static let list: StaticString = "/run/vos/mounts"
  private static let usual: StaticString = "/storage"

  /// `text` (NUL-terminated, names separated by ":"), else the list, else the usual one.
  static func learn(_ text: UnsafePointer<CChar>?) {
    if let text = unsafe text {
      unsafe store(UnsafeBufferPointer(start: text, count: length(text)))
    } else if !readList() {
      usual.withUTF8Buffer { name in
        unsafe name.withMemoryRebound(to: CChar.self) { unsafe store($0) }
      }
    }
  }

  private static func readList() -> Bool {
    let file = unsafe real().pointee.open64(list.cString, Linux.closeOnExec, 0)
    guard file >= 0 else { return false }
    var buffer = InlineArray<1000, CChar>(repeating: 0)
    var span = buffer.mutableSpan
    let length = unsafe span.withUnsafeMutableBufferPointer { bytes in
      unsafe real().pointee.read(file, bytes.baseAddress, bytes.count)
    }
    _ = unsafe real().pointee.close(file)
    guard length >= 0 else { return false }
    // An empty list: nothing is mounted here.
    unsafe buffer.span.withUnsafeBufferPointer { bytes in
      unsafe store(UnsafeBufferPointer(rebasing: bytes[..<length]))
    }
    return true
  }

  /// Separators and line ends become NUL, runs of them one; two bytes at the end stay zero.
  private static func store(_ text: UnsafeBufferPointer<CChar>) {
    let place = unsafe libvos_mounts()
    var at = 0
    for index in text.indices where at < Int(LIBVOS_MOUNT_BYTES) &- 2 {
      let character = unsafe text[index]
      let ends =
        character == CChar(bitPattern: UInt8(ascii: ":"))
        || character == CChar(bitPattern: UInt8(ascii: "\n"))
      if unsafe ends && (at == 0 || place[at &- 1] == 0) { continue }
      unsafe place[at] = ends ? 0 : character
      at = at &+ 1
    }
  }

  static func length(_ text: UnsafePointer<CChar>) -> Int {
    var count = 0
    while unsafe text[count] != 0 { count = count &+ 1 }
    return count
  }
}

extension StaticString {
  var cString: UnsafePointer<CChar> {
    // SAFETY: static strings end with a zero byte.
    unsafe UnsafeRawPointer(utf8Start).assumingMemoryBound(to: CChar.self)
  }
}
