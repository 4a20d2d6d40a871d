// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

// Calls after which a descriptor has a second owner or the kernel's own view of it counts.
// thunks.S calls the hooks with the real function's arguments, then runs the real function.
// SAFETY (all below): pointers among the arguments are read as the real function reads them.

func forked(_ child: Int32) -> Int32 {
  // In the child the table is empty already (MADV_WIPEONFORK); our devices are the parent's.
  if child == 0 { keepingErrorNumber { Process.forgetDevices() } }
  return child
}

@c(fork)
public func fork() -> Int32 {
  Ownership.giveBackAll()
  return forked(unsafe real().pointee.fork())
}

@c(_Fork)
public func forkWithoutHandlers() -> Int32 {
  Ownership.giveBackAll()
  return forked(unsafe real().pointee._Fork())
}

@c(epoll_ctl)
public func epollControl(
  _ epoll: Int32, _ operation: Int32, _ descriptor: Int32, _ event: UnsafeMutableRawPointer?
) -> Int32 {
  guard unsafe mayBeOfInterest(operation, descriptor, event) else {
    errorNumber = Linux.notPermitted
    return -1
  }
  return unsafe real().pointee.epoll_ctl(epoll, operation, descriptor, event)
}

/// Whether the real call is to be made.
func mayBeOfInterest(
  _ operation: Int32, _ descriptor: Int32, _ event: UnsafeMutableRawPointer?
) -> Bool {
  let edgeTriggered: UInt32 = 1 << 31
  let (add, delete): (Int32, Int32) = (1, 2)
  let word = Entry(descriptor)?.load()
  // Files have no readiness; the kernel supposes that those of a FUSE mount may.
  if operation == add, word?.isFile == true { return !isRegular(descriptor) }
  // Edge-triggered readiness needs the kernel path to see every call that finds nothing more.
  if operation != delete, word?.isSocket == true, let event = unsafe event,
    unsafe event.loadUnaligned(as: UInt32.self) & edgeTriggered != 0
  {
    Ownership.giveBack(descriptor, sockets: true)
  }
  return true
}

private func isRegular(_ descriptor: Int32) -> Bool {
  var status = libvos_status()
  return keepingErrorNumber { unsafe fstat(descriptor, &status) == 0 && isRegular(status) }
}

/// A thunk may run before libvos's own start: then it does not know yet where to go.
@inline(__always)
private func makeReady() { _ = unsafe real() }

@c(libvos_hook_all)
public func hookAll() {
  makeReady()
  Ownership.giveBackAll()
}

@c(libvos_hook_unshare)
public func hookUnshare(_ flags: Int32) {
  hookAll()
  let files: Int32 = 0x400  // CLONE_FILES
  if flags & files != 0 { Process.turnOff() }
}

@c(libvos_hook_limit)
public func hookLimit(_ resource: Int32) {
  makeReady()
  if resource == 1 { hookAll() }  // RLIMIT_FSIZE
}

@c(libvos_hook_first)
public func hookFirst(_ descriptor: Int32) {
  makeReady()
  Ownership.giveBack(descriptor)
}

@c(libvos_hook_stream)
public func hookStream(_ descriptor: Int32) {
  makeReady()
  if !Rewriting.isDone { Ownership.giveBack(descriptor) }
}

@c(libvos_hook_first_second)
public func hookFirstSecond(_ first: Int32, _ second: Int32) {
  makeReady()
  Ownership.giveBack(first)
  Ownership.giveBack(second)
}

@c(libvos_hook_first_third)
public func hookFirstThird(_ first: Int32, _ second: Int, _ third: Int32) {
  makeReady()
  Ownership.giveBack(first)
  Ownership.giveBack(third)
}

@c(libvos_hook_fifth)
public func hookFifth(_ a: Int, _ b: Int, _ c: Int, _ d: Int, _ descriptor: Int32) {
  makeReady()
  if Hot.isRemote(descriptor) { Ownership.giveBack(descriptor) }
}

@c(libvos_hook_directory)
public func hookDirectory() {
  makeReady()
  Paths.forgetWorkingDirectory()
}

/// Descriptors and offsets are changed behind libc's names: those concerned go back.
@c(libvos_hook_syscall)
public func hookSyscall(_ number: Int, _ first: Int, _ second: Int, _ third: Int) {
  makeReady()
  let descriptor = Int32(truncatingIfNeeded: first)
  switch number {
  case 56, 57, 58, 59, 272, 322, 435, 436, 425, 426:
    // clone fork vfork execve unshare execveat clone3 close_range io_uring_setup _enter
    hookAll()
  case 33, 292:  // dup2 dup3
    Process.vacate(Int32(truncatingIfNeeded: second))
    Ownership.giveBack(Int32(truncatingIfNeeded: second), sockets: true)
    Ownership.giveBack(descriptor)
  case 3:  // close
    Process.vacate(descriptor)
    Ownership.forget(descriptor)
  case 40, 275, 326:  // sendfile splice copy_file_range
    Ownership.giveBack(descriptor)
    Ownership.giveBack(Int32(truncatingIfNeeded: second))
    Ownership.giveBack(Int32(truncatingIfNeeded: third))
  case 0, 1, 8, 16, 19, 20, 32, 72, 217, 327, 328:
    // read write lseek ioctl readv writev dup fcntl getdents64 preadv2 pwritev2
    Ownership.giveBack(descriptor)
  default: break
  }
}
