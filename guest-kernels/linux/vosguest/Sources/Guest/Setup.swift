// SPDX-License-Identifier: Apache-2.0
import CGuest
import DeviceTree
import Glibc

/// The steps of a domain's start that do not hang on its role.
enum Setup {
  static func mounts() {
    mount("proc", "/proc", "proc", "")
    mount("sysfs", "/sys", "sysfs", "")
    mount("devtmpfs", "/dev", "devtmpfs", "mode=0755")
    mount("devpts", "/dev/pts", "devpts", "mode=0620,gid=5,ptmxmode=0666")
    mount("tmpfs", "/dev/shm", "tmpfs", "mode=1777")
    mount("tmpfs", "/tmp", "tmpfs", "mode=1777")
    mount("tmpfs", "/run", "tmpfs", "mode=0755")
    // SAFETY: static text, NUL-terminated.
    _ = unsafe symlink("/proc/self/fd", "/dev/fd")
    _ = unsafe symlink("/proc/self/fd/0", "/dev/stdin")
    _ = unsafe symlink("/proc/self/fd/1", "/dev/stdout")
    _ = unsafe symlink("/proc/self/fd/2", "/dev/stderr")
    _ = unsafe symlink("/proc/self/mounts", "/etc/mtab")
  }

  /// Mounts, making the directory first; 0 or minus an errno. Already mounted is well.
  @discardableResult
  static func mount(
    _ source: String, _ target: String, _ type: String, _ options: String, flags: Int = 0
  ) -> Int {
    // SAFETY: the string is NUL-terminated and outlives the call.
    _ = unsafe mkdir(target, 0o755)
    // SAFETY: all four strings are NUL-terminated and outlive the call, which copies them.
    let result = unsafe source.withCString { source in
      unsafe target.withCString { target in
        unsafe type.withCString { type in
          unsafe options.withCString { options in
            unsafe kernel(
              Int(SYS_mount), address(source), address(target), address(type), flags,
              address(options))
          }
        }
      }
    }
    if result < 0, result != Failure.busy { System.log("cannot mount \(target): errno \(-result)") }
    return result == Failure.busy ? 0 : result
  }

  /// From an initial RAM disk the kernel starts process 1 without descriptors.
  static func console() {
    guard let console = Descriptor.open("/dev/console", O_RDWR | O_NOCTTY).descriptor else {
      return
    }
    for number: Int32 in 0...2 { dup2(console.number, number) }
    // 0 to 2 stay; should the console itself be one of them, it must not be closed.
    // SAFETY: never released: descriptors 0 to 2 stay open as long as the process.
    if console.number <= 2 { _ = unsafe Unmanaged.passRetained(console) }
  }

  static func kernelSettings() {
    // A panic is a reset at once: the host decides what then.
    Descriptor.write("-1", to: "/proc/sys/kernel/panic")
    Descriptor.write("1", to: "/proc/sys/kernel/panic_on_oops")
    // Ctrl-Alt-Del becomes a signal to us.
    kernel(Int(SYS_reboot), 0xfee1_dead, 0x2812_1969, 0)
    umask(0o022)
    // SAFETY: static text, NUL-terminated.
    _ = unsafe chdir("/")
  }

  static func commandLine() -> [Substring] {
    let text = Descriptor.contents(of: "/proc/cmdline") ?? []
    return String(decoding: text, as: UTF8.self).split { $0 == " " || $0 == "\n" }
  }

  private static let bootData = "/sys/kernel/boot_params/setup_data"

  /// The device tree that the monitor handed over; else one in the image.
  static func description() -> DomainDescription? {
    for number in 0..<16 {
      guard let type = Descriptor.contents(of: "\(bootData)/\(number)/type") else { break }
      // SETUP_DTB, Documentation/x86/boot.rst.
      guard String(decoding: type, as: UTF8.self).hasPrefix("0x2") else { continue }
      if let domain = decode("\(bootData)/\(number)/data") { return domain }
    }
    return decode("/etc/vos/domain.dtb")
  }

  private static func decode(_ path: String) -> DomainDescription? {
    guard let blob = Descriptor.contents(of: path) else { return nil }
    do throws(DeviceTreeError) {
      return try DomainDescription(decoding: blob)
    } catch {
      System.log("\(path): \(error)")
      return nil
    }
  }

  static func identity(_ domain: DomainDescription) {
    var name = domain.domain
    // SAFETY: the kernel reads the bytes of a local, as many as it has.
    _ = name.withUTF8 { unsafe kernel(Int(SYS_sethostname), address($0.baseAddress), $0.count) }
    Descriptor.write(domain.domain + "\n", to: "/etc/hostname")
    // SAFETY: static text, NUL-terminated.
    if unsafe access("/etc/hosts", F_OK) != 0 {
      Descriptor.write("127.0.0.1 localhost \(domain.domain)\n::1 localhost\n", to: "/etc/hosts")
    }
    // SAFETY: static text, NUL-terminated.
    let error = unsafe guest_link_up("lo")
    // In the primary AF_INET is the network domain's: there is no loopback of our own to ask.
    if error < 0, !domain.roles.contains(.primary) { System.log("loopback: errno \(-error)") }
  }

  // MARK: Kernel modules

  static let ourModule = "/usr/lib/vos/vos.ko"

  /// Those of the image, those of the device tree with what they need, then our own.
  static func modules(_ domain: DomainDescription) {
    var name = utsname()
    // SAFETY: a local that the call fills; its names end within it.
    unsafe uname(&name)
    let release = unsafe withUnsafeBytes(of: &name.release) {
      unsafe String(decoding: $0.prefix { $0 != 0 }, as: UTF8.self)
    }
    let folder = "/lib/modules/" + release
    for path in lines("/etc/vos/modules") {
      load(path.hasPrefix("/") ? path : folder + "/" + path)
    }
    let needs = dependencies(folder)
    for module in domain.modules where module != "vos" {
      for path in needs[plainName(module)] ?? [] { load(folder + "/" + path) }
    }
    // SAFETY: the string is NUL-terminated and outlives the call.
    if unsafe access(ourModule, R_OK) == 0 { load(ourModule) }
  }

  private static func lines(_ path: String) -> [String] {
    let text = String(
      decoding: Descriptor.contents(of: path, maximum: 4 << 20) ?? [], as: UTF8.self)
    return text.split(separator: "\n").map(String.init).filter { !$0.hasPrefix("#") }
  }

  /// Module name → files to load, in this order; from modules.dep.
  private static func dependencies(_ folder: String) -> [String: [String]] {
    var needs: [String: [String]] = [:]
    for line in lines(folder + "/modules.dep") {
      let parts = line.split(separator: ":", maxSplits: 1)
      guard let path = parts.first.map(String.init) else { continue }
      let before = parts.count > 1 ? parts[1].split(separator: " ").map(String.init) : []
      needs[plainName(path)] = before.reversed() + [path]
    }
    return needs
  }

  private static func plainName(_ path: String) -> String {
    let file = path.split(separator: "/").last ?? ""
    return String(file.prefix { $0 != "." }.map { $0 == "-" ? "_" : $0 })
  }

  private static func load(_ path: String) {
    guard case .success(let file) = Descriptor.open(path, O_RDONLY) else {
      System.log("cannot open the module \(path)")
      return
    }
    // SAFETY: an empty string that outlives the call.
    let result = unsafe "".withCString {
      unsafe kernel(Int(SYS_finit_module), Int(file.number), address($0), 0)
    }
    // EEXIST: loaded already.
    if result < 0, result != -17 { System.log("cannot load \(path): errno \(-result)") }
  }
}
