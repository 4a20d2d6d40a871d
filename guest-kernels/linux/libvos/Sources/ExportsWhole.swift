// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

// Writing whole file systems back. The kernel asks nothing of a FUSE server then: what it wrote to
// the service would stay in the service's memory. fsync of a mount's root writes all of it.
// SAFETY (all below): paths are NUL-terminated entries of our own list.

/// Calls `body` with a descriptor of each remote mount's root, until it says no.
private func eachRoot(_ body: (Int32) -> Bool) {
  var mount = unsafe UnsafePointer(libvos_mounts())
  while unsafe mount[0] != 0 {
    let flags = Linux.directory | Linux.closeOnExec
    let root = unsafe real().pointee.open64(mount, flags, 0)
    if root >= 0 {
      let goesOn = body(root)
      _ = unsafe real().pointee.close(root)
      if !goesOn { return }
    }
    unsafe mount = unsafe mount + Mounts.length(mount) + 1
  }
}

@c(sync)
public func synchronize() {
  // First the pages that this kernel holds back, then what the service was given.
  unsafe real().pointee.sync()
  keepingErrorNumber {
    eachRoot { root in
      _ = unsafe real().pointee.fsync(root)
      return true
    }
  }
}

@c(syncfs)
public func synchronizeFileSystem(_ descriptor: Int32) -> Int32 {
  var result = unsafe real().pointee.syncfs(descriptor)
  var own = libvos_status()
  // SAFETY: Linux's struct stat on x86-64 has the device first and 144 bytes.
  guard result == 0, unsafe fstat(descriptor, &own) == 0 else { return result }
  let saved = errorNumber
  eachRoot { root in
    var status = libvos_status()
    guard unsafe fstat(root, &status) == 0, status.device == own.device else { return true }
    result = unsafe real().pointee.fsync(root)
    return false
  }
  if result == 0 { errorNumber = saved }
  return result
}
