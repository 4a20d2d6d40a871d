// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosLoad

/// vos-load: `vos-load PATH NAME [ARGUMENT]...` makes this process the static program at PATH, with
/// its system calls turned to libvos, which is part of vos-load. vos-run calls it.
///
/// A program of which it is not sure is left to the kernel as it is; a file that is no program is
/// refused.

private enum Status {
  static let failed = 125
  static let notExecutable = 126
}

/// - Parameter stack: as the kernel gives it: count, arguments, 0, environment, 0, auxiliary vector.
/// - Returns: the program's entry point.
@c(vosload_run)
public func run(_ stack: UnsafeMutablePointer<UInt64>) -> UInt64 {
  // SAFETY (all of this file): the kernel built the stack, and nobody else runs.
  let count = Int(truncatingIfNeeded: unsafe stack[0])
  guard count >= 3, let path = unsafe Start.text(stack[2]) else {
    unsafe System.say(
      Start.usage.cString, ": give the path of a static program, its name and its arguments")
    System.end(Status.failed)
  }
  let environment = unsafe stack + (count &+ 2)
  unsafe start(
    Int32(truncatingIfNeeded: count &- 2), stack + 3,
    UnsafeRawPointer(environment).assumingMemoryBound(to: UnsafePointer<CChar>?.self))
  do throws(Refusal) {
    let entry = try unsafe Start.load(path, environment)
    Program.take(arguments: unsafe stack[3])
    unsafe libvos_set().pointee.rewrite = Rewriting.State.done
    return entry
  } catch {
    if error.isMalformed {
      unsafe System.say(path, " cannot be run: ", error.reason)
      System.end(Status.notExecutable)
    }
    unsafe Start.leave(path, error, stack, environment)
  }
}

enum Start {
  static let usage: StaticString = "usage"

  static func text(_ word: UInt64) -> UnsafePointer<CChar>? {
    unsafe UnsafePointer(bitPattern: UInt(word))
  }

  /// Maps the program and prepares what it will find; its entry point.
  static func load(
    _ path: UnsafePointer<CChar>, _ environment: UnsafeMutablePointer<UInt64>
  ) throws(Refusal) -> UInt64 {
    let file = try unsafe Program.open(path)
    defer { System.close(file) }
    guard let bytes = System.map(file, try Program.size(file)) else {
      throw .unsuited("it cannot be read")
    }
    let image = try Image(bytes)
    let sites = try Sites(image)
    defer { sites.end() }
    if image.isGo { try Stacks.make() }
    let memory = try Memory(image, sites, file)
    Program.rememberPath(file)
    unsafe Program.tell(environment, image, memory.bias, path)
    unsafe Program.take(name: path)
    System.unmap(bytes.address, UInt64(bytes.count))
    return image.header.entry &+ memory.bias
  }

  /// Has the kernel run the program as it is.
  static func leave(
    _ path: UnsafePointer<CChar>, _ error: Refusal, _ stack: UnsafeMutablePointer<UInt64>,
    _ environment: UnsafeMutablePointer<UInt64>
  ) -> Never {
    if unsafe libvos_set().pointee.debug != 0 {
      unsafe System.say(path, " is not rewritten: ", error.reason, place: error.place)
    }
    let executeCall = 59
    let result = unsafe System.call(
      executeCall, Int(bitPattern: path), Int(bitPattern: stack + 3), Int(bitPattern: environment))
    unsafe System.say(path, " cannot be run: error ", number: UInt64(0 &- result))
    System.end(Status.notExecutable)
  }
}

/// The program's file, and what it finds of itself when it starts.
enum Program {
  private static let closeOnExec = 0o2000000
  private static let setIdentity: UInt32 = 0o6000
  private static let here = -100  // AT_FDCWD

  static func open(_ path: UnsafePointer<CChar>) throws(Refusal) -> Int {
    let (executable, effective) = (1, 0x200)  // X_OK, AT_EACCESS
    guard System.call(439, here, Int(bitPattern: path), executable, effective) != -13 else {
      throw .unsuited("it must not be executed")
    }
    let file = System.call(257, here, Int(bitPattern: path), closeOnExec)
    guard file >= 0 else { throw .unsuited("it cannot be read") }
    return file
  }

  /// The file's size. Programs that get another identity are the kernel's alone.
  static func size(_ file: Int) throws(Refusal) -> Int {
    var status = libvos_status()
    guard unsafe fstat(Int32(file), &status) == 0 else { throw .unsuited("it cannot be read") }
    guard isRegular(status) else { throw .malformed("it is no regular file") }
    let capability: StaticString = "security.capability"
    let found = System.call(193, file, unsafe Int(bitPattern: capability.cString))
    guard status.mode & setIdentity == 0, found < 0 else {
      throw .unsuited("it runs as somebody else")
    }
    let size = Int(truncatingIfNeeded: status.size)
    guard size > 0 else { throw .malformed("it is empty") }
    return size
  }

  /// What /proc/self/exe should say.
  static func rememberPath(_ file: Int) {
    var link = Line()
    link.add("/proc/self/fd/")
    link.add(UInt64(file))
    unsafe link.end { text in
      // SAFETY: the line's end becomes the string's.
      let bytes = unsafe UnsafeMutableRawBufferPointer(mutating: text)
      unsafe bytes[bytes.count &- 1] = 0
      let path = unsafe vosload_program_path()
      _ = System.call(
        89, Int(bitPattern: bytes.baseAddress), Int(bitPattern: path),
        Int(VOSLOAD_PATH) &- 1)
    }
  }

  private enum Vector {
    static let end: UInt64 = 0
    static let table: UInt64 = 3  // AT_PHDR
    static let entryBytes: UInt64 = 4
    static let entries: UInt64 = 5
    static let base: UInt64 = 7
    static let entry: UInt64 = 9
    static let path: UInt64 = 31  // AT_EXECFN
  }

  /// The auxiliary vector describes the program, no longer vos-load.
  static func tell(
    _ environment: UnsafeMutablePointer<UInt64>, _ image: Image, _ bias: UInt64,
    _ path: UnsafePointer<CChar>
  ) {
    var pair = unsafe environment
    while unsafe pair[0] != 0 { unsafe pair = unsafe pair + 1 }
    unsafe pair = unsafe pair + 1
    while unsafe pair[0] != Vector.end {
      switch unsafe pair[0] {
      case Vector.table:
        let table = image.tableAddress
        unsafe pair[1] = table == 0 ? 0 : table &+ bias
      case Vector.entryBytes: unsafe pair[1] = UInt64(image.header.segment_bytes)
      case Vector.entries: unsafe pair[1] = UInt64(image.header.segment_count)
      case Vector.base: unsafe pair[1] = 0
      case Vector.entry: unsafe pair[1] = image.header.entry &+ bias
      case Vector.path: unsafe pair[1] = UInt64(UInt(bitPattern: path))
      default: break
      }
      unsafe pair = unsafe pair + 2
    }
  }

  /// The thread's name, which the kernel took from vos-load's file.
  static func take(name path: UnsafePointer<CChar>) {
    var name = unsafe path
    var at = unsafe path
    while unsafe at.pointee != 0 {
      if unsafe at.pointee == CChar(bitPattern: UInt8(ascii: "/")) { unsafe name = unsafe at + 1 }
      unsafe at = unsafe at + 1
    }
    let setName = 15  // PR_SET_NAME
    _ = System.call(157, setName, Int(bitPattern: name))
  }

  /// The command line in /proc, where the process may change it.
  static func take(arguments first: UInt64) {
    let (setMemory, argumentsStart) = (35, 8)  // PR_SET_MM, PR_SET_MM_ARG_START
    _ = System.call(157, setMemory, argumentsStart, Int(truncatingIfNeeded: first))
  }
}

/// Stacks of our own, for programs whose own may have no room.
enum Stacks {
  private static let stride: UInt64 = 0x10000  // gate.S: VOSLOAD_STACK
  private static let count: UInt64 = 64

  /// Each: a page whose first word says that it is in use, a page that nobody may touch, the stack.
  static func make() throws(Refusal) {
    guard let start = System.reserve(0, stride &* count, System.Protection.readWrite) else {
      throw .unsuited("there is no room for stacks")
    }
    for index in 0..<count {
      let guardPage = start &+ index &* stride &+ System.pageBytes
      guard System.protect(guardPage, System.pageBytes, System.Protection.none) else {
        throw .unsuited("there is no room for stacks")
      }
    }
    vosload_use_stacks(start, stride, count)
  }

  /// In a forked child there are no other threads that could give theirs back.
  static func freeOthers(but place: UInt) {
    var stack = vosload_first_stack()
    while stack < vosload_last_stack() {
      if !(stack..<(stack &+ stride)).contains(UInt64(place)) { vosload_free_stack(stack) }
      stack = stack &+ stride
    }
  }
}
