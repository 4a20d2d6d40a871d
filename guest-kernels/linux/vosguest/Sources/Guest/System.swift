// SPDX-License-Identifier: Apache-2.0
import CGuest
import Glibc
import Synchronization

/// Errnos that are made here (x86-64 Linux).
enum Failure {
  static let notPermitted = -1
  static let noEntry = -2
  static let interrupted = -4
  static let inputOutput = -5
  static let noAddress = -6
  static let badDescriptor = -9
  static let tryAgain = -11
  static let noMemory = -12
  static let accessDenied = -13
  static let busy = -16
  static let noDevice = -19
  static let invalid = -22
  static let tooManyOpen = -24
  static let notTerminal = -25
  static let noSpace = -28
  static let brokenPipe = -32
  static let range = -34
  static let nameTooLong = -36
  static let notImplemented = -38
  static let loop = -40
  static let protocolBroken = -71
  static let notSupported = -95
  static let noProtocolOption = -92
  static let familyNotSupported = -97
  static let notConnected = -107
  static let timedOut = -110
  static let stale = -116
}

/// Flags that the C library shows only to GNU sources (x86-64 Linux).
let O_PATH: Int32 = 0o10000000
let AT_EMPTY_PATH: Int32 = 0x1000
let O_NOATIME: Int32 = 0o1000000
let O_TMPFILE: Int32 = 0o20200000

/// A system call by number; minus the errno where it fails.
@discardableResult
func kernel(
  _ number: Int, _ a: Int = 0, _ b: Int = 0, _ c: Int = 0, _ d: Int = 0, _ e: Int = 0, _ f: Int = 0
) -> Int {
  guest_call(number, a, b, c, d, e, f)
}

/// The same, again and again while signals interrupt it.
@discardableResult
func kernelRetrying(
  _ number: Int, _ a: Int = 0, _ b: Int = 0, _ c: Int = 0, _ d: Int = 0, _ e: Int = 0, _ f: Int = 0
) -> Int {
  while true {
    let result = guest_call(number, a, b, c, d, e, f)
    if result != Failure.interrupted { return result }
  }
}

/// A pointer as a system call's argument.
func address(_ pointer: UnsafeRawPointer?) -> Int { Int(bitPattern: pointer) }

/// A descriptor that closes itself when nobody holds it any more.
final class Descriptor: Sendable {
  let number: Int32

  /// Takes a descriptor that nobody else owns.
  init(owning number: Int32) { self.number = number }

  /// Takes what a system call returned: a descriptor, or minus an errno.
  convenience init?(_ result: Int) {
    guard result >= 0 else { return nil }
    self.init(owning: Int32(result))
  }

  deinit { _ = close(number) }

  /// Opens `path`, close-on-exec.
  static func open(_ path: String, _ flags: Int32, mode: Int = 0o644) -> Result {
    // SAFETY: the string is NUL-terminated and outlives the call.
    let result = unsafe path.withCString {
      unsafe kernelRetrying(
        Int(SYS_openat), Int(AT_FDCWD), address($0), Int(flags | O_CLOEXEC), mode)
    }
    guard let descriptor = Descriptor(result) else { return .failure(result) }
    return .success(descriptor)
  }

  enum Result {
    case success(Descriptor)
    /// Minus an errno.
    case failure(Int)

    var descriptor: Descriptor? {
      if case .success(let descriptor) = self { descriptor } else { nil }
    }
  }

  /// The whole of a small file, at most `maximum` bytes.
  static func contents(of path: String, maximum: Int = 1 << 20) -> [UInt8]? {
    guard let file = open(path, O_RDONLY).descriptor else { return nil }
    var bytes: [UInt8] = []
    var piece = [UInt8](repeating: 0, count: 65536)
    while bytes.count < maximum {
      // SAFETY: the kernel writes at most the array's count.
      let count = unsafe piece.withUnsafeMutableBytes {
        unsafe kernelRetrying(Int(SYS_read), Int(file.number), address($0.baseAddress), $0.count)
      }
      guard count > 0 else { return count == 0 ? bytes : nil }
      bytes += piece.prefix(count)
    }
    return bytes
  }

  /// Writes a small file anew; false if that fails.
  @discardableResult
  static func write(_ text: String, to path: String) -> Bool {
    guard let file = open(path, O_WRONLY | O_CREAT | O_TRUNC).descriptor else { return false }
    var text = text
    return text.withUTF8 {
      // SAFETY: the kernel reads the string's own bytes.
      unsafe kernelRetrying(Int(SYS_write), Int(file.number), address($0.baseAddress), $0.count)
        == $0.count
    }
  }
}

/// Threads, time and words for the console.
enum System {
  private final class Body {
    let run: @Sendable () -> Void
    init(_ run: @escaping @Sendable () -> Void) { self.run = run }
  }

  /// Starts a thread that lives until its body returns; false if there is none to have.
  @discardableResult
  static func startThread(_ body: @escaping @Sendable () -> Void) -> Bool {
    var thread = pthread_t()
    var attributes = pthread_attr_t()
    // SAFETY: a local, initialized by the first call and destroyed by the last.
    unsafe pthread_attr_init(&attributes)
    unsafe pthread_attr_setdetachstate(&attributes, Int32(PTHREAD_CREATE_DETACHED))
    unsafe pthread_attr_setstacksize(&attributes, 256 << 10)
    defer { unsafe pthread_attr_destroy(&attributes) }
    // SAFETY: retained for the thread, which takes it over; released here if there is no thread.
    let box = unsafe Unmanaged.passRetained(Body(body))
    let result = unsafe pthread_create(
      &thread, &attributes,
      {
        // SAFETY: the box was retained for this thread alone.
        unsafe Unmanaged<Body>.fromOpaque($0!).takeRetainedValue().run()
        return nil
      }, unsafe box.toOpaque())
    if result != 0 { unsafe box.release() }
    return result == 0
  }

  /// Milliseconds of a clock that never goes back.
  static func milliseconds() -> UInt64 {
    var time = timespec()
    // SAFETY: a local of the type that the call fills, which outlives it.
    unsafe clock_gettime(CLOCK_MONOTONIC_COARSE, &time)
    return UInt64(time.tv_sec) * 1000 + UInt64(time.tv_nsec) / 1_000_000
  }

  static func sleep(milliseconds: UInt32) {
    usleep(milliseconds * 1000)
  }

  /// 16 bits that differ from life to life.
  static func random() -> UInt64 {
    var value: UInt64 = 0
    // SAFETY: the kernel writes the 8 bytes of a local.
    _ = unsafe withUnsafeMutableBytes(of: &value) {
      unsafe kernelRetrying(Int(SYS_getrandom), address($0.baseAddress), 8)
    }
    return value
  }

  /// One line on standard error, which is the console.
  static func log(_ text: String) {
    var line = "vosguest: " + text + "\n"
    // SAFETY: the kernel reads the string's own bytes.
    line.withUTF8 { _ = unsafe kernel(Int(SYS_write), 2, address($0.baseAddress), $0.count) }
  }
}
