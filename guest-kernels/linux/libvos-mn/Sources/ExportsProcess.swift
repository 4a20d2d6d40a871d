// SPDX-License-Identifier: Apache-2.0

public import CMN
internal import CVosABI

// fork, and what changes every kernel thread of a process at once.

/// In the child only the caller lives; it runs on the child's one kernel thread.
private func forked(_ child: Int32) -> Int32 {
  if child == 0, Rebirth.isDue { Rebirth.alone() }
  return child
}

@c(fork)
public func fork() -> Int32 {
  guard Runtime.isRunning else { return unsafe real().pointee.fork() }
  return forked(unsafe real().pointee.fork())
}

@c(_Fork)
public func forkWithoutHandlers() -> Int32 { forked(unsafe real().pointee._Fork()) }

// The child of vfork counts as a signal handler of the thread: it is never switched away from.
// SAFETY: the thread's own record.
@c(mn_hook_vfork)
public func hookVfork() { unsafe mn_self().pointee.handlers &+= 1 }

@c(mn_hook_vforked)
public func hookVforked() { unsafe mn_self().pointee.handlers &-= 1 }

/// libc forks by itself in these two.
@c(daemon)
public func daemon(_ keepsDirectory: Int32, _ keepsStreams: Int32) -> Int32 {
  // SAFETY: libc's own function.
  forked(unsafe real().pointee.daemon(keepsDirectory, keepsStreams))
}

@c(forkpty)
public func forkpty(
  _ terminal: UnsafeMutablePointer<Int32>?, _ name: UnsafeMutablePointer<CChar>?,
  _ settings: UnsafeRawPointer?, _ size: UnsafeRawPointer?
) -> Int32 {
  // SAFETY: the program's pointers, as it gave them.
  forked(unsafe real().pointee.forkpty(terminal, name, settings, size))
}

/// libc changes the identity of every thread by a signal that each answers in its own name; a
/// thread of ours cannot. Before the first pthread_create all is as ever.
private func refused() -> Int32? {
  guard Runtime.isRunning else { return nil }
  return Int32(failed(Linux.notPermitted))
}

@c(setuid)
public func setuid(_ user: UInt32) -> Int32 { unsafe refused() ?? real().pointee.setuid(user) }
@c(setgid)
public func setgid(_ group: UInt32) -> Int32 { unsafe refused() ?? real().pointee.setgid(group) }
@c(seteuid)
public func seteuid(_ user: UInt32) -> Int32 { unsafe refused() ?? real().pointee.seteuid(user) }
@c(setegid)
public func setegid(_ group: UInt32) -> Int32 { unsafe refused() ?? real().pointee.setegid(group) }
@c(setreuid)
public func setreuid(_ real1: UInt32, _ effective: UInt32) -> Int32 {
  unsafe refused() ?? real().pointee.setreuid(real1, effective)
}
@c(setregid)
public func setregid(_ real1: UInt32, _ effective: UInt32) -> Int32 {
  unsafe refused() ?? real().pointee.setregid(real1, effective)
}
@c(setresuid)
public func setresuid(_ one: UInt32, _ two: UInt32, _ three: UInt32) -> Int32 {
  unsafe refused() ?? real().pointee.setresuid(one, two, three)
}
@c(setresgid)
public func setresgid(_ one: UInt32, _ two: UInt32, _ three: UInt32) -> Int32 {
  unsafe refused() ?? real().pointee.setresgid(one, two, three)
}
@c(setgroups)
public func setgroups(_ count: Int, _ groups: UnsafePointer<UInt32>?) -> Int32 {
  unsafe refused() ?? real().pointee.setgroups(count, groups)
}
@c(initgroups)
public func initgroups(_ user: UnsafePointer<CChar>?, _ group: UInt32) -> Int32 {
  unsafe refused() ?? real().pointee.initgroups(user, group)
}
