// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI
public import CVosLoad

/// A system call of the program that came to the gate. What libvos has nothing to do with goes back
/// to the program's own instruction: there it is interrupted, restarted and cancelled as ever.
///
/// - Returns: 1 if it is done, its result in `number`; 0 if it is to be made.
@c(vosload_answer)
public func answer(_ place: UnsafeMutablePointer<vosload_call>) -> Int32 {
  // SAFETY: the gate's own frame, below the program's, alive during the call.
  let call = Call(unsafe place.pointee, at: UInt(bitPattern: place))
  guard let result = call.answer() else {
    // Its path may be another now.
    unsafe place.pointee.first = Int64(call.redirected ?? Int(place.pointee.first))
    return 0
  }
  unsafe place.pointee.number = Int64(result)
  return 1
}

/// One system call: its number (asm/unistd_64.h) and what was in its six registers.
// SAFETY (all below): addresses are the program's, used as the kernel would use them.
private struct Call {
  let number: Int
  let first: Int
  let second: Int
  let third: Int
  let fourth: Int
  let fifth: Int
  let sixth: Int
  /// Where the gate saved the call: a place on the stack that is in use now.
  let stack: UInt

  init(_ call: vosload_call, at stack: UInt) {
    (number, first, second, third) = (
      Int(call.number), Int(call.first), Int(call.second), Int(call.third)
    )
    (fourth, fifth, sixth) = (Int(call.fourth), Int(call.fifth), Int(call.sixth))
    self.stack = stack
  }

  /// Descriptors and flags are 32 bits wide, whatever is above.
  private func narrow(_ word: Int) -> Int32 { Int32(truncatingIfNeeded: word) }
  private var descriptor: Int32 { narrow(first) }
  private func pointer(_ word: Int) -> UnsafeMutableRawPointer? {
    unsafe UnsafeMutableRawPointer(bitPattern: word)
  }
  private func vectors(_ word: Int) -> UnsafePointer<libvos_vector>? {
    unsafe UnsafePointer(bitPattern: word)
  }
  private func text(_ word: Int) -> UnsafePointer<CChar>? { unsafe UnsafePointer(bitPattern: word) }

  /// The call itself, by an instruction of ours.
  private func make() -> Int {
    System.call(number, first, second, third, fourth, fifth, sixth)
  }

  /// Nil: it is to be made, at the program's place.
  func answer() -> Int? {
    switch number {
    case 0...1, 8, 17...20, 295...296, 327...328: file()
    case 74, 75, 77, 285: kept()
    case 44...47, 299, 307: message()
    case 7, 23, 270, 271: readiness()
    case 2, 85, 257, 41, 43, 288: made()
    case 3, 436, 32, 33, 292, 72, 16: ended()
    case 89, 267: link()
    default: shared()
    }
  }

  // MARK: Data

  private func file() -> Int? {
    switch number {
    case 0: unsafe Hot.read(descriptor, into: pointer(second), third)
    case 1: unsafe Hot.write(descriptor, from: pointer(second), third)
    case 8: Files.seek(descriptor, second, narrow(third))
    case 17: unsafe Files.pread(descriptor, into: pointer(second), third, at: fourth)
    case 18: unsafe Files.pwrite(descriptor, from: pointer(second), third, at: fourth)
    case 19: unsafe Hot.read(descriptor, vectors(second), third)
    case 20: unsafe Hot.write(descriptor, vectors(second), third)
    case 295: unsafe Files.pread(descriptor, vectors(second), third, at: fourth)
    case 296: unsafe Files.pwrite(descriptor, vectors(second), third, at: fourth)
    default: flagged()
    }
  }

  /// preadv2, pwritev2: without flags, what they do is known; offset -1 is the descriptor's own.
  private func flagged() -> Int? {
    guard narrow(sixth) == 0 else {
      Ownership.giveBack(descriptor)
      return nil
    }
    let list = unsafe vectors(second)
    let reads = number == 327
    if fourth == -1 {
      return unsafe reads
        ? Hot.read(descriptor, list, third) : Hot.write(descriptor, list, third)
    }
    return unsafe reads
      ? Files.pread(descriptor, list, third, at: fourth)
      : Files.pwrite(descriptor, list, third, at: fourth)
  }

  /// fsync, fdatasync, ftruncate and fallocate.
  private func kept() -> Int? {
    let isDone =
      switch number {
      case 74: Files.control(descriptor, UInt32(VOS_CALL_FSYNC))
      case 75: Files.control(descriptor, UInt32(VOS_CALL_FDATASYNC))
      case 77: Files.control(descriptor, UInt32(VOS_CALL_FTRUNCATE), second)
      default:
        UInt32(bitPattern: narrow(second)) & ~VOS_FALLOCATE_MODES == 0
          && Files.control(
            descriptor, UInt32(VOS_CALL_FALLOCATE), Int(narrow(second)), third, fourth)
      }
    return isDone ? 0 : nil
  }

  private func message() -> Int? {
    switch number {
    case 44:
      guard let address = unsafe pointer(fifth) else {
        return unsafe Hot.write(descriptor, from: pointer(second), third, flags: narrow(fourth))
      }
      return unsafe sent(
        descriptor, pointer(second), third, narrow(fourth), to: address,
        UInt32(truncatingIfNeeded: sixth))
    case 45:
      guard let address = unsafe pointer(fifth) else {
        return unsafe Hot.read(descriptor, into: pointer(second), third, flags: narrow(fourth))
      }
      return unsafe received(
        descriptor, pointer(second), third, narrow(fourth), from: address, pointer(sixth))
    case 46, 47:
      guard let message = unsafe pointer(second)?.assumingMemoryBound(to: libvos_message.self)
      else { return nil }
      return unsafe number == 46
        ? sent(descriptor, message, narrow(third)) : received(descriptor, message, narrow(third))
    default:
      let list = unsafe pointer(second)?.assumingMemoryBound(to: libvos_many_messages.self)
      let count = UInt32(truncatingIfNeeded: third)
      return unsafe number == 299
        ? Int(recvmmsg(descriptor, list, count, narrow(fourth), pointer(fifth)))
        : Int(sendmmsg(descriptor, list, count, narrow(fourth)))
    }
  }

  private func readiness() -> Int? {
    let time = unsafe UnsafePointer<libvos_time>(bitPattern: number == 271 ? third : fifth)
    switch number {
    case 7: return interests(narrow(third))
    case 271: return unsafe fourth == 0 ? interests(time == nil ? -1 : 0) : nil
    case 23: return unsafe sets(milliseconds(time))
    default:
      // The signal mask lies behind another address.
      let mask = unsafe pointer(sixth)?.loadUnaligned(as: UInt.self)
      return unsafe mask ?? 0 == 0 ? sets(time == nil ? -1 : 0) : nil
    }
  }

  private func interests(_ milliseconds: Int32) -> Int? {
    let list = unsafe UnsafeMutablePointer<libvos_interest>(bitPattern: first)
    return unsafe Readiness.ask(list, UInt(bitPattern: second), milliseconds).map { Int($0) }
  }

  private func sets(_ milliseconds: Int32) -> Int? {
    let (read, write, other) = unsafe (
      UnsafeMutablePointer<UInt64>(bitPattern: second), UnsafePointer<UInt64>(bitPattern: third),
      UnsafePointer<UInt64>(bitPattern: fourth)
    )
    return unsafe Readiness.ask(descriptor, read, write, other, milliseconds).map { Int($0) }
  }

  // MARK: Descriptors

  private func made() -> Int? {
    switch number {
    case 2: return opening(Linux.currentDirectory, first, narrow(second))
    case 257: return opening(descriptor, second, narrow(third))
    case 85:
      return opening(
        Linux.currentDirectory, first, Linux.create | Linux.writeOnly | Linux.truncate)
    case 41:
      return Int(VosLoad.made(narrow(make()), descriptor, narrow(second)))
    default:
      return Int(accepted(narrow(make()), from: descriptor, number == 288 ? narrow(fourth) : 0))
    }
  }

  private func opening(_ directory: Int32, _ path: Int, _ flags: Int32) -> Int {
    let name = unsafe text(path)
    if unsafe isOwnLink(name) {
      let own = unsafe Int(bitPattern: vosload_program_path())
      return number == 257
        ? System.call(257, first, own, third, fourth) : System.call(number, own, second, third)
    }
    return Int(unsafe opened(narrow(make()), directory, name, flags))
  }

  private func ended() -> Int? {
    switch number {
    case 3:
      if Process.deviceIndex(of: descriptor) != nil { return Int(Linux.badDescriptor) }
      Ownership.forget(descriptor)
      return nil
    case 436:
      return Int(
        Sharing.closeRange(
          UInt32(truncatingIfNeeded: first), UInt32(truncatingIfNeeded: second), narrow(third)))
    case 32: return Int(dup(descriptor))
    case 33: return Int(dup2(descriptor, narrow(second)))
    case 292: return Int(dup3(descriptor, narrow(second), narrow(third)))
    case 72: return Int(Sharing.control(descriptor, narrow(second), UInt(bitPattern: third)))
    default:
      Sharing.beforeIoctl(
        descriptor, UInt(UInt32(truncatingIfNeeded: second)), UInt(bitPattern: third))
      return nil
    }
  }

  // MARK: The program's own file

  private static let ownLink: StaticString = "/proc/self/exe"

  /// /proc/self/exe is vos-load: the program means itself.
  private func isOwnLink(_ path: UnsafePointer<CChar>?) -> Bool {
    guard let path = unsafe path else { return false }
    // SAFETY: a shorter string ends, and so the comparison, at its zero.
    for index in 0...Self.ownLink.utf8CodeUnitCount
    where unsafe path[index] != Self.ownLink.cString[index] { return false }
    return true
  }

  /// readlink and readlinkat.
  private func link() -> Int? {
    let shift = number == 267
    guard unsafe isOwnLink(text(shift ? second : first)) else { return nil }
    let room = narrow(shift ? fourth : third)
    let path = unsafe UnsafePointer(vosload_program_path())
    guard room > 0, let buffer = unsafe pointer(shift ? third : second) else { return nil }
    let count = unsafe min(Mounts.length(path), Int(room))
    unsafe libvos_copy(buffer, path, count)
    return count
  }

  /// What stands for the first argument, if not itself: an execution of /proc/self/exe.
  var redirected: Int? {
    guard number == 59, unsafe isOwnLink(text(first)) else { return nil }
    return unsafe Int(bitPattern: vosload_program_path())
  }

  // MARK: What the system is about to share, copy or look at

  private func shared() -> Int? {
    switch number {
    case 56, 57, 435: return child()
    case 58, 59, 322, 425, 426: hookAll()
    case 272: hookUnshare(narrow(first))
    case 160: hookLimit(narrow(first))
    case 302: if third != 0 { hookAll() }
    case 9: if narrow(fourth) & 0x20 == 0 { Ownership.giveBack(narrow(fifth)) }
    case 40: hookFirstSecond(descriptor, narrow(second))
    case 275, 326: hookFirstThird(descriptor, second, narrow(third))
    case 233:
      guard unsafe mayBeOfInterest(narrow(second), narrow(third), pointer(fourth)) else {
        return -Int(Linux.notPermitted)
      }
    case 80, 81: hookDirectory()
    case 162:
      synchronize()
      return 0
    case 306: return Int(synchronizeFileSystem(descriptor))
    case 231: if Process.isOwner || !Process.isPrepared { stop() }
    default: break
    }
    return nil
  }

  private enum Clone {
    static let memory = 0x100
    static let descriptors = 0x400
  }

  /// clone, fork and clone3: a thread shares everything; others are second owners.
  private func child() -> Int? {
    var (flags, newStack) = (number == 57 ? 0 : first, second)
    if number == 435 {
      // Its arguments lie in memory: flags first, the stack sixth.
      guard let list = unsafe pointer(first)?.assumingMemoryBound(to: Int.self) else { return nil }
      unsafe (flags, newStack) = (list[0], list[5])
    } else if number == 57 {
      newStack = 0
    }
    if flags & Clone.descriptors != 0, flags & Clone.memory != 0 { return nil }
    Ownership.giveBackAll()
    // On this stack only one of the two can go on, unless each has its own.
    guard flags & Clone.memory == 0, newStack == 0 else { return nil }
    let process = make()
    if process == 0 { Stacks.freeOthers(but: stack) }
    return Int(forked(narrow(process)))
  }
}
