// SPDX-License-Identifier: Apache-2.0
import Foundation

/// What `vosctl ps --json` says, as far as the demonstration, tests and benchmarks read it.
public struct SystemReport: Decodable, Sendable {
  public struct Domain: Decodable, Sendable {
    public var name: String
    public var state: String
    public var pid: Int32?
    public var bootSeconds: Double?
    public var channels: [Channel]
  }

  public struct Channel: Decodable, Sendable {
    public var name: String
    public var state: String
    public var renewals: Int
    public var fastCalls: UInt64
    public var kernelCalls: UInt64
  }

  public var state: String
  public var domains: [Domain]

  /// Calls by both ways, summed over the channels of all domains.
  public var calls: (fast: UInt64, kernel: UInt64) {
    let channels = domains.flatMap(\.channels)
    return (
      channels.reduce(0) { $0 &+ $1.fastCalls }, channels.reduce(0) { $0 &+ $1.kernelCalls }
    )
  }
}

/// The system of vfio-configs/lab.yaml in a lab host, driven by `vosctl` as a person would.
public struct VosSystem {
  public static let manifest = "/vos/vfio-configs/lab.yaml"
  /// Where the log of a failed `up` stays, in the lab host.
  static let log = "/tmp/vosd.log"
  /// The functions that the lab's manifests give away: e1000e and AHCI in lab.yaml, e1000 and NVMe
  /// in lab-other.yaml.
  public static let devices = ["0000:01:00.0", "0000:00:05.0", "0000:00:06.0", "0000:02:00.0"]
  /// How long three domains may take to come up on a busy machine.
  public static let upSeconds = 420.0

  public let lab: Lab

  public init(_ lab: Lab) { self.lab = lab }

  /// Runs `vosctl`; its exit code is the caller's to judge.
  public func vosctl(
    _ arguments: [String], withinSeconds seconds: Double = 120, sink: AgentClient.Sink? = nil,
    keeping: Bool = true
  ) throws -> LabResult {
    try lab.agent.run(["vosctl"] + arguments, withinSeconds: seconds, sink: sink, keeping: keeping)
  }

  /// Runs `vosctl` and throws when it does not exit with 0.
  @discardableResult
  public func mustVosctl(
    _ arguments: [String], withinSeconds seconds: Double = 120, sink: AgentClient.Sink? = nil
  ) throws -> LabResult {
    let result = try vosctl(arguments, withinSeconds: seconds, sink: sink)
    return try VosSystem.check(result, "vosctl \(arguments.joined(separator: " "))")
  }

  public func up(
    _ manifest: String = VosSystem.manifest, sink: AgentClient.Sink? = nil
  ) throws {
    try mustVosctl(
      ["up", "--log-file", VosSystem.log, manifest],
      withinSeconds: VosSystem.upSeconds, sink: sink)
  }

  public func down(sink: AgentClient.Sink? = nil) throws {
    try mustVosctl(["down"], withinSeconds: VosSystem.upSeconds, sink: sink)
  }

  /// Runs a shell script in a domain and returns its output; throws when it does not exit with 0.
  @discardableResult
  public func inDomain(
    _ domain: String, _ script: String, withinSeconds seconds: Double = 120
  ) throws -> String {
    try mustVosctl(["exec", domain, "--", "sh", "-c", script], withinSeconds: seconds).text
  }

  /// Runs a shell script on the lab host; throws when it does not exit with 0.
  @discardableResult
  public func onHost(_ script: String, withinSeconds seconds: Double = 120) throws -> String {
    try VosSystem.check(lab.agent.shell(script, withinSeconds: seconds), script).text
  }

  /// Runs `body` with the SATA disk on /mnt of the lab host, read-only.
  public func withDisk<Result>(_ body: () throws -> Result) throws -> Result {
    // A controller that was just given back needs a moment to find its disk.
    try waitOnHost("[ -b /dev/sda ]")
    try onHost("mount -t ext4 -o ro /dev/sda /mnt")
    defer { _ = try? onHost("umount /mnt") }
    return try body()
  }

  /// Waits until a shell condition holds on the lab host.
  func waitOnHost(_ condition: String, withinSeconds seconds: Int = 10) throws {
    try onHost(
      "n=0; until \(condition); do n=$((n + 1)); [ $n -lt \(seconds * 10) ] || exit 1; "
        + "usleep 100000; done", withinSeconds: Double(seconds) * 10)
  }

  public func report() throws -> SystemReport {
    let text = try mustVosctl(["ps", "--json"]).output
    do {
      return try JSONDecoder().decode(SystemReport.self, from: Data(text.utf8))
    } catch {
      throw Failure("vosctl ps --json printed what is not understood (\(error)): \(text)")
    }
  }

  /// The driver that each of the manifest's devices is bound to; "none" for none.
  public func drivers() throws -> [String: String] {
    var drivers: [String: String] = [:]
    for device in VosSystem.devices {
      drivers[device] = try onHost(
        "basename \"$(readlink /sys/bus/pci/devices/\(device)/driver || echo none)\"")
    }
    return drivers
  }

  /// Throws if one of our processes is left on the lab host.
  ///
  /// A process that has just hung up is listed for a moment more, until init has reaped it.
  public func expectNoProcess() throws {
    let names = "vosvmm vosd vosctl"
    do {
      try waitOnHost("! pidof \(names) > /dev/null")
    } catch {
      throw Failure("processes left: \(try onHost("pidof \(names) || true"))")
    }
  }

  /// Memory of a monitor beyond its guest's RAM, in KiB, from the kernel's own account.
  ///
  /// All that is resident, less what is resident of the memfd that is the guest's RAM.
  ///
  /// - Parameter marker: part of that memfd's name.
  public func overheadKiB(process: Int32, ram marker: String = "ram") throws -> Int {
    let ram = try onHost(
      "awk '/^[0-9a-f]+-[0-9a-f]+ /{ram = /memfd:[^ ]*\(marker)/} /^Rss:/ && ram {sum += $2} "
        + "END {print sum + 0}' /proc/\(process)/smaps")
    let all = try onHost("awk '/^Rss:/{print $2}' /proc/\(process)/smaps_rollup")
    guard let ramKiB = Int(ram), let allKiB = Int(all), ramKiB > 0, allKiB >= ramKiB else {
      throw Failure("smaps of process \(process) show no guest RAM (all \(all), RAM \(ram) KiB)")
    }
    return allKiB - ramKiB
  }

  private static func check(_ result: LabResult, _ what: String) throws -> LabResult {
    guard result.code == 0 else {
      let said = (result.errors.isEmpty ? result.output : result.errors)
        .trimmingCharacters(in: .whitespacesAndNewlines)
      throw Failure("\(what): exit code \(result.code): \(said)")
    }
    return result
  }
}
