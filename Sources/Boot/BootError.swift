// SPDX-License-Identifier: Apache-2.0
public import DeviceModel

/// Why a guest cannot be loaded.
public enum BootError: Error, Equatable, CustomStringConvertible {
  /// The kernel image is of no known kind.
  case notAKernel(image: String)
  /// An image ends before what its own headers announce.
  case truncated(image: String, byteCount: UInt64, needed: UInt64)
  /// An image's header says something that cannot be.
  case malformed(image: String, reason: String)
  /// A kernel that lacks something that this loader needs.
  case unsupported(image: String, reason: String)
  /// The command line is longer than the kernel takes.
  case commandLineTooLong(byteCount: Int, limit: UInt64)
  /// The command line holds a NUL byte, which would end it early.
  case commandLineHoldsNUL
  /// The device tree does not fit its place.
  case deviceTreeTooLarge(byteCount: Int, limit: UInt64)
  /// The guest has too little RAM for what is to be loaded.
  case outOfMemory(what: String, needed: UInt64, available: UInt64)
  /// The ACPI tables do not fit their place.
  case tablesTooLarge(byteCount: Int, limit: UInt64)
  /// More vCPUs than the tables can name.
  case tooManyProcessors(count: Int, limit: Int)
  /// Reading an image failed.
  case unreadable(image: String, reason: String)
  /// The loader's memory does not cover what the memory map promised.
  case memory(GuestMemoryError)

  /// One sentence: what is wrong, and after a semicolon what to do.
  public var description: String { "\(problem); \(remedy)" }

  /// What is wrong.
  var problem: String {
    switch self {
    case .notAKernel(let image):
      "\(image) is not a bzImage or PVH ELF"
    case .truncated(let image, let byteCount, let needed):
      "\(image) is truncated: it has \(byteCount) bytes, its header speaks of \(needed)"
    case .malformed(let image, let reason):
      "\(image) is malformed: \(reason)"
    case .unsupported(let image, let reason):
      "\(image) cannot be booted: \(reason)"
    case .commandLineTooLong(let byteCount, let limit):
      "kernel command line has \(byteCount) bytes, the kernel takes \(limit)"
    case .commandLineHoldsNUL:
      "kernel command line holds a NUL byte"
    case .deviceTreeTooLarge(let byteCount, let limit):
      "device tree has \(byteCount) bytes, there is room for \(limit)"
    case .outOfMemory(let what, let needed, let available):
      "\(what) needs guest memory up to 0x\(hex(needed)), the domain has it up to "
        + "0x\(hex(available))"
    case .tablesTooLarge(let byteCount, let limit):
      "acpi tables have \(byteCount) bytes, there is room for \(limit)"
    case .tooManyProcessors(let count, let limit):
      "\(count) vcpus asked for, acpi tables can name 1 to \(limit)"
    case .unreadable(let image, let reason):
      "cannot read \(image): \(reason)"
    case .memory(let error):
      error.description
    }
  }

  /// What helps, beginning with a verb.
  var remedy: String {
    switch self {
    case .notAKernel, .unsupported: "give an x86-64 kernel of Linux 3.8 or later"
    case .truncated, .malformed: "copy or build it again"
    case .commandLineTooLong: "shorten \"cmdline\""
    case .commandLineHoldsNUL: "remove it from \"cmdline\""
    case .deviceTreeTooLarge: "give the domain fewer modules, channels or devices"
    case .outOfMemory, .memory: "give the domain more memory"
    case .tablesTooLarge, .tooManyProcessors: "give the domain fewer cpus"
    case .unreadable: "check the file and the disk it is on"
    }
  }
}

func hex(_ value: UInt64) -> String { String(value, radix: 16) }
