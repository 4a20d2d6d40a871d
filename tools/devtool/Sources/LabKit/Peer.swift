// SPDX-License-Identifier: Apache-2.0
import Foundation

/// QEMU inside the lab host, on the same /dev/kvm: what our monitor is measured against.
///
/// The development machine's own QEMU runs there, seen over 9p with all its libraries.
public struct Peer {
  static let shareTag = "usr"
  private static let root = "/host/usr"
  private static let libraries = "\(root)/lib/x86_64-linux-gnu"
  private static let log = "/tmp/peer.log"
  private static let pidFile = "/tmp/peer.pid"
  private static let bootSeconds = 180

  private let system: VosSystem

  /// Shows the development machine's /usr to a lab host that is about to start.
  public static func share(_ machine: inout LabMachine) {
    machine.extraShares[shareTag] = URL(fileURLWithPath: "/usr")
  }

  public init(_ system: VosSystem) throws {
    self.system = system
    try system.onHost(
      "mkdir -p \(Peer.root); mountpoint -q \(Peer.root) || mount -t 9p "
        + "-o trans=virtio,version=9p2000.L,msize=262144,ro,cache=loose \(Peer.shareTag) \(Peer.root)"
    )
    // Once before it is timed: 9p reads the program and its libraries only now.
    try system.onHost("\(Peer.program) --version", withinSeconds: 300)
  }

  static let program =
    "\(libraries)/ld-linux-x86-64.so.2 --library-path \(libraries):\(libraries)/pulseaudio "
    + "\(root)/bin/qemu-system-x86_64"

  /// Where the emulated machine's firmware is.
  static let firmware = "-L \(root)/share/qemu -L \(root)/share/seabios"

  /// Boots the benchmark's kernel and initrd under QEMU q35.
  ///
  /// - Returns: seconds from QEMU's start to the guest's init.
  public func boot(memoryMiB: Int) throws -> Double {
    let start =
      "rm -f \(Peer.log); \(Peer.program) -accel kvm -cpu host -smp 1 -nodefaults -no-user-config "
      + "-M q35,memory-backend=ram -object memory-backend-memfd,id=ram,size=\(memoryMiB)M,share=on "
      + "-m \(memoryMiB)M -display none -serial file:\(Peer.log) \(Peer.firmware) "
      + "-kernel /vos/out/kernel/vmlinuz "
      + "-initrd /vos/out/images/primary.cpio "
      + "-append 'console=ttyS0 quiet rdinit=/usr/lib/vos/bench-init' "
      + "> /tmp/peer.out 2>&1 < /dev/null & echo $! > \(Peer.pidFile)"
    let wait =
      "until grep -q 'init reached' \(Peer.log) 2>/dev/null; do "
      + "kill -0 $(cat \(Peer.pidFile)) || { cat /tmp/peer.out; exit 1; }; usleep 20000; done"
    // Both clocks are the lab host's: hundredths of a second since its boot.
    let text = try system.onHost(
      "began=$(cut -d' ' -f1 /proc/uptime); \(start); \(wait); "
        + "echo $began $(cut -d' ' -f1 /proc/uptime)", withinSeconds: Double(Peer.bootSeconds))
    let times = text.split(separator: " ").compactMap { Double($0) }
    guard times.count == 2 else { throw Failure("timing QEMU printed \"\(text)\"") }
    return times[1] - times[0]
  }

  /// QEMU's memory beyond the guest's RAM, in KiB.
  public func overheadKiB() throws -> Int {
    let text = try system.onHost("cat \(Peer.pidFile)")
    guard let process = Int32(text) else { throw Failure("no process number in \"\(text)\"") }
    return try system.overheadKiB(process: process, ram: "memory-backend-memfd")
  }

  public func stop() throws {
    try system.onHost(
      "kill $(cat \(Peer.pidFile)); while [ -d /proc/$(cat \(Peer.pidFile)) ]; do usleep 20000; done"
    )
  }
}
