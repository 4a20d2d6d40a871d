// SPDX-License-Identifier: Apache-2.0
import CGuest
import CVosABI
import Glibc

/// What the kernel module counted on each channel of this machine.
enum Counters {
  static func print(asJSON: Bool) -> Int32 {
    var lines: [String] = []
    for name in names() {
      guard let device = Descriptor.open("/dev/vos/" + name, O_RDWR).descriptor else {
        // A service side has one opener, which is at work.
        lines.append(asJSON ? "{\"channel\":\"\(name)\",\"busy\":true}" : "\(name): in use")
        continue
      }
      var counters = vos_ioc_counters()
      // SAFETY: the command fills one `vos_ioc_counters`, and that is what the local is.
      let result = unsafe kernel(
        Int(SYS_ioctl), Int(device.number), Int(VOS_IOC_COUNTERS), address(&counters))
      guard result >= 0 else { return fail("/dev/vos/\(name): errno \(-result)") }
      lines.append(asJSON ? json(name, counters) : text(name, counters))
    }
    Swift.print(asJSON ? "[" + lines.joined(separator: ",") + "]" : lines.joined(separator: "\n"))
    return 0
  }

  private static func fields(_ counters: vos_ioc_counters) -> [(String, UInt64)] {
    [
      ("kernel_calls", counters.kernel_calls), ("fast_calls", counters.fast_calls),
      ("fallback_calls", counters.fallback_calls), ("doorbells", counters.doorbells),
      ("interrupts", counters.interrupts),
    ]
  }

  private static func json(_ name: String, _ counters: vos_ioc_counters) -> String {
    let numbers = fields(counters).map { ",\"\($0)\":\($1)" }.joined()
    return "{\"channel\":\"\(name)\"\(numbers)}"
  }

  private static func text(_ name: String, _ counters: vos_ioc_counters) -> String {
    "\(name): " + fields(counters).map { "\($0) \($1)" }.joined(separator: ", ")
  }

  /// The channels' names, sorted.
  static func names() -> [String] {
    // SAFETY: the stream is open; an entry is valid until the next `readdir`, and its name ends
    // within it.
    guard let folder = unsafe opendir("/dev/vos") else { return [] }
    defer { unsafe closedir(folder) }
    var names: [String] = []
    // SAFETY: the stream is open; an entry is valid until the next `readdir`, and its name ends
    // within it.
    while let entry = unsafe readdir(folder) {
      let name = unsafe withUnsafeBytes(of: &entry.pointee.d_name) {
        unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
      }
      // A channel's name: letters, digits, - and _; so it needs no quoting.
      if !name.hasPrefix(".") { names.append(name) }
    }
    return names.sorted()
  }
}
