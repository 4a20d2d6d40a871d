// SPDX-License-Identifier: Apache-2.0
import Glibc
import LinuxSystem

/// What the host can give, asked before anything is taken from it.
enum HostLimits {
  /// Bytes that could be allocated without swapping (proc(5), MemAvailable).
  static func availableMemory() -> UInt64? { memoryInformation("MemAvailable:") }

  /// Bytes in free huge pages of the default size.
  static func freeHugePages() -> UInt64? {
    guard let text = readSmallFile("/proc/meminfo") else { return nil }
    guard let free = number(after: "HugePages_Free:", in: text),
      let kib = number(after: "Hugepagesize:", in: text)
    else { return nil }
    return free &* kib &* 1024
  }

  /// Whether an open file is KVM: character device 10:232 (linux/miscdevice.h, KVM_MINOR).
  static func isKVM(_ descriptor: borrowing OwnedDescriptor) -> Bool {
    var status = stat()
    // SAFETY: the call fills a local of the type it expects.
    guard unsafe fstat(descriptor.rawValue, &status) == 0 else { return false }
    // Both numbers are below 256, so the old encoding of dev_t holds.
    return status.st_mode & S_IFMT == S_IFCHR && status.st_rdev == 10 << 8 | 232
  }

  private static func memoryInformation(_ key: String) -> UInt64? {
    readSmallFile("/proc/meminfo").flatMap { number(after: key, in: $0) }.map { $0 &* 1024 }
  }

  private static func number(after key: String, in text: String) -> UInt64? {
    let line = text.split(separator: "\n").first { $0.hasPrefix(key) }
    return line?.dropFirst(key.count).split(separator: " ").first.flatMap { UInt64($0) }
  }

  /// Resident bytes of a process that are not shared memory: what a monitor costs beyond the
  /// guest's RAM, which is shared (proc(5), status: RssAnon + RssFile).
  static func privateResidentBytes(of pid: Int32) -> UInt64? {
    guard let text = readSmallFile("/proc/\(pid)/status"),
      let anonymous = number(after: "RssAnon:", in: text.replacing("\t", with: " ")),
      let file = number(after: "RssFile:", in: text.replacing("\t", with: " "))
    else { return nil }
    return (anonymous &+ file) &* 1024
  }

  /// Makes sure that `needed` bytes may be locked by one child, raising the soft limit if the hard
  /// one allows. VFIO pins all RAM of a domain with devices.
  ///
  /// - Returns: the limit that is too low, or `nil` if all is well.
  static func ensureLockable(_ needed: UInt64) -> UInt64? {
    if hasCapability(ipcLock) { return nil }
    var limit = rlimit()
    // SAFETY: the call fills a local of the type it expects.
    guard unsafe getrlimit(memlock, &limit) == 0 else {
      return nil
    }
    if UInt64(limit.rlim_cur) >= needed { return nil }
    guard UInt64(limit.rlim_max) >= needed else { return UInt64(limit.rlim_max) }
    limit.rlim_cur = limit.rlim_max
    // SAFETY: the call reads a local of the type it expects.
    return unsafe setrlimit(memlock, &limit) == 0
      ? nil : UInt64(limit.rlim_max)
  }

  /// RLIMIT_MEMLOCK (asm-generic/resource.h).
  private static let memlock = __rlimit_resource_t(8)

  /// CAP_IPC_LOCK (capabilities(7)): the limit does not count.
  private static let ipcLock: UInt64 = 14

  private static func hasCapability(_ number: UInt64) -> Bool {
    guard let text = readSmallFile("/proc/self/status"),
      let line = text.split(separator: "\n").first(where: { $0.hasPrefix("CapEff:") }),
      let set = UInt64(line.dropFirst(7).filter { $0.isHexDigit }, radix: 16)
    else { return false }
    return set >> number & 1 == 1
  }
}
