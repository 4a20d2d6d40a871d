// SPDX-License-Identifier: Apache-2.0

internal import CLibvos

/// Linux's numbers on x86-64 that libvos looks at; libc's headers stay out (see libvos_c.h).
enum Linux {
  static let again: Int64 = -11
  static let badDescriptor: Int64 = -9
  static let brokenPipe: Int64 = -32
  static let inputOutput: Int64 = -5
  static let invalidArgument: Int64 = -22
  static let notOffered: Int64 = -38

  static let notPermitted: Int32 = 1

  static let writeOnly: Int32 = 0o1
  static let accessMode: Int32 = 0o3
  static let create: Int32 = 0o100
  static let truncate: Int32 = 0o1000
  static let append: Int32 = 0o2000
  static let nonBlocking: Int32 = 0o4000
  static let dataSync: Int32 = 0o10000
  static let direct: Int32 = 0o40000
  static let directory: Int32 = 0o200000
  static let closeOnExec: Int32 = 0o2000000
  static let path: Int32 = 0o10000000
  static let currentDirectory: Int32 = -100

  static let messagePeek: Int32 = 0x2
  static let messageDontWait: Int32 = 0x40
  static let messageNoSignal: Int32 = 0x4000
  static let messageMore: Int32 = 0x8000
  static let messageWaitForOne: Int32 = 0x10000
  /// What msg_flags may say of a datagram: MSG_OOB, MSG_CTRUNC, MSG_TRUNC, MSG_EOR.
  static let messageResults: Int32 = 0x1 | 0x8 | 0x20 | 0x80

  /// The most that one read or write moves (MAX_RW_COUNT).
  static let transferLimit = 0x7fff_f000
  static let vectorLimit: Int32 = 1024
}

/// The real functions, found once. Before libvos's own start has run (another library's
/// constructor calls us) they are found on first use.
@inline(__always)
func real() -> UnsafeMutablePointer<libvos_next> {
  // SAFETY: static storage; `resolved` is stored after the table is filled.
  if unsafe vos_load_acquire32(libvos_resolved()) == 0 { resolve() }
  return unsafe libvos_real()
}

var errorNumber: Int32 {
  // SAFETY: libc gives each thread its own errno, valid as long as the thread.
  get { unsafe __errno_location().pointee }
  set { unsafe __errno_location().pointee = newValue }
}

/// Runs `body` with errno as it was afterwards: what libvos does on the side leaves no trace.
@inline(__always)
func keepingErrorNumber<Result>(_ body: () -> Result) -> Result {
  let saved = errorNumber
  let result = body()
  errorNumber = saved
  return result
}

/// Runs `body` with every signal held back: a handler that needed what `body` holds would
/// wait for ever.
func withoutSignals<Result>(_ body: () -> Result) -> Result {
  var all = libvos_signals()
  var old = libvos_signals()
  // SAFETY: both are as large as libc's sigset_t; SIG_BLOCK is 0, SIG_SETMASK 2.
  unsafe withUnsafeMutableBytes(of: &all) { bytes in
    for index in bytes.indices { unsafe bytes[index] = 0xff }
  }
  _ = unsafe sigprocmask(0, &all, &old)
  let result = body()
  _ = unsafe sigprocmask(2, &old, nil)
  return result
}

func isRegular(_ status: libvos_status) -> Bool {
  let (format, regular): (UInt32, UInt32) = (0o170000, 0o100000)
  return status.mode & format == regular
}
