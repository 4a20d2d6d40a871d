// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

// What programs that keep data safe do beside reading and writing. Of a file that is attached the
// client's kernel holds nothing back, so the service alone has something to do.

@c(fsync)
public func synchronizeFile(_ descriptor: Int32) -> Int32 {
  if Files.control(descriptor, UInt32(VOS_CALL_FSYNC)) { return 0 }
  return unsafe real().pointee.fsync(descriptor)
}

@c(fdatasync)
public func synchronizeData(_ descriptor: Int32) -> Int32 {
  if Files.control(descriptor, UInt32(VOS_CALL_FDATASYNC)) { return 0 }
  return unsafe real().pointee.fdatasync(descriptor)
}

@c(ftruncate64)
public func truncate64(_ descriptor: Int32, _ size: Int) -> Int32 {
  if Files.control(descriptor, UInt32(VOS_CALL_FTRUNCATE), size) { return 0 }
  return unsafe real().pointee.ftruncate64(descriptor, size)
}

@c(ftruncate)
public func truncate(_ descriptor: Int32, _ size: Int) -> Int32 { truncate64(descriptor, size) }

@c(fallocate64)
public func allocate64(_ descriptor: Int32, _ mode: Int32, _ offset: Int, _ length: Int) -> Int32 {
  if UInt32(bitPattern: mode) & ~VOS_FALLOCATE_MODES == 0,
    Files.control(descriptor, UInt32(VOS_CALL_FALLOCATE), Int(mode), offset, length)
  {
    return 0
  }
  return unsafe real().pointee.fallocate64(descriptor, mode, offset, length)
}

@c(fallocate)
public func allocate(_ descriptor: Int32, _ mode: Int32, _ offset: Int, _ length: Int) -> Int32 {
  allocate64(descriptor, mode, offset, length)
}
