// SPDX-License-Identifier: Apache-2.0
import Foundation

/// nginx and redis in the lab, with load from outside, in three arrangements on the same kernels.
public struct ProgramsBench {
  /// Where the network stack is.
  enum Arrangement: String, CaseIterable {
    /// In the program's own domain, which owns the NIC.
    case monolithic
    /// In a domain of its own, which never sleeps.
    case service
    /// The same, but nobody looks for anything: each call and each answer rings.
    case doorbell

    var title: String {
      switch self {
      case .monolithic: "the program's domain owns the NIC"
      case .service: "service domain, polling"
      case .doorbell: "service domain, doorbells only"
      }
    }
  }

  /// What a load generator said.
  public struct Figures: Sendable {
    public var perSecond: Double
    /// Milliseconds in which 99 of 100 were answered.
    public var p99: Double
  }

  /// Program → arrangement → figures.
  private var figures: [String: [Arrangement: Figures]] = [:]

  public static let packages = [
    "busybox-static", "curl", "nginx-light", "procps", "redis-server", "redis-tools", "wrk",
  ]
  private static let programs = ["nginx", "redis"]
  private static let memoryMiB = 1024

  /// Brings the lab up once, and the system three times.
  public static func run(_ workspace: Workspace) throws -> ProgramsBench {
    var options = ProgramLab.Options()
    options.packages = packages
    options.memoryMiB = memoryMiB
    options.withPeer = true
    let lab = try ProgramLab.start(workspace, options, manifest: manifest(.monolithic))
    defer { try? lab.stop() }
    var bench = ProgramsBench()
    for arrangement in Arrangement.allCases {
      if arrangement != .monolithic {
        try Console.shared.step("again: \(arrangement.title)") {
          try lab.restart(manifest: manifest(arrangement))
        }
      }
      try prepare(lab, arrangement)
      for program in programs {
        let measured = try Console.shared.step("\(program), \(arrangement.title)") {
          try program == "nginx" ? nginx(lab, arrangement) : redis(lab, arrangement)
        }
        bench.figures[program, default: [:]][arrangement] = measured
      }
    }
    return bench
  }

  // MARK: The system

  private static func manifest(_ arrangement: Arrangement) -> String {
    let isAlone = arrangement == .monolithic
    let nic = "\"\(LabMachine.assignedNIC)\""
    let disk = "\"\(LabMachine.primaryDevice)\""
    let domains = """
      # One arrangement of tools/dev bench programs; written by it.
      vos: 1
      system: bench
      boot-timeout: 300
      domains:
        primary:
          kernel: ../../kernel/vmlinuz
          initrd: ../../images/primary-disk.cpio
          cmdline: console=ttyS0 quiet panic=-1
          memory: \(memoryMiB)MiB
          devices: [\(isAlone ? disk + ", " + nic : disk)]
          modules: [\(ProgramLab.virtualNICModules)]

      """
    if isAlone { return domains }
    let wait = arrangement == .service ? "spin" : "sleep"
    return domains
      + ProgramLab.networkDomain(
        modules: ProgramLab.virtualNICModules, settings: " vos.wait=\(wait)") + "\n"
  }

  private static func prepare(_ lab: ProgramLab, _ arrangement: Arrangement) throws {
    switch arrangement {
    case .monolithic:
      try lab.inside(
        "nic=$(basename /sys/bus/pci/devices/*/virtio*/net/*) && ip() { busybox ip \"$@\"; } && "
          + "ip addr add \(LabMachine.guestAddress) dev $nic && ip link set $nic up")
    case .service: break
    case .doorbell: try lab.inside("echo 0 > /sys/module/vos/parameters/spin_us")
    }
    try lab.inside("mkdir -p /tmp/www && head -c \(fileBytes) /dev/urandom > /tmp/www/file")
    try lab.inside("cat > /tmp/nginx.conf <<'END'\n\(nginxConfiguration)\nEND")
  }

  // MARK: The programs

  private static let fileBytes = 1024
  private static let seconds = 10
  private static let connections = 16
  private static let commands = 500

  private static let nginxConfiguration = """
    worker_processes 1;
    pid /tmp/nginx.pid;
    error_log /tmp/nginx.error.log;
    events { worker_connections 256; }
    http { access_log off; server { listen 8002; root /tmp/www; } }
    """

  /// Of the fast path: doorbells only means that the client looks for nothing, either.
  private static func variables(_ arrangement: Arrangement) -> String {
    arrangement == .doorbell ? "VOS_SPIN=0 VOS_YIELD=0 " : ""
  }

  private static func nginx(_ lab: ProgramLab, _ arrangement: Arrangement) throws -> Figures {
    try lab.withServer(
      variables(arrangement) + "nginx -c /tmp/nginx.conf", port: 8002,
      stop: "nginx -c /tmp/nginx.conf -s stop"
    ) {
      let text = try lab.outside(
        "wrk -t 1 -c \(connections) -d \(seconds)s --timeout 30s --latency "
          + lab.url(8002, "file"))
      try expect(!text.contains("Socket errors") && !text.contains("Non-2xx"), text)
      return Figures(
        perSecond: try number(text, after: /Requests\/sec:\s+([\d.]+)/),
        p99: try milliseconds(text))
    }
  }

  /// wrk's `99%  12.34ms`.
  static func milliseconds(_ text: String) throws -> Double {
    guard let match = text.firstMatch(of: /99%\s+([\d.]+)(us|ms|s|m)/),
      let value = Double(match.1)
    else { throw Failure("no 99% in: \(text)") }
    let units: [Substring: Double] = ["us": 0.001, "ms": 1, "s": 1000, "m": 60_000]
    return value * (units[match.2] ?? 1)
  }

  private static func redis(_ lab: ProgramLab, _ arrangement: Arrangement) throws -> Figures {
    try lab.withServer(
      variables(arrangement)
        + "setsid redis-server --port 6379 --bind 0.0.0.0 --protected-mode no --save ''",
      port: 6379, stop: "pkill redis-server"
    ) {
      let text = try lab.outside(
        "redis-benchmark -h \(ProgramLab.address) -n \(commands) -c \(connections) -t set -d 64 --csv",
        withinSeconds: 300)
      return try redisFigures(text)
    }
  }

  /// The row "SET" of redis-benchmark's table, by the names of its columns.
  static func redisFigures(_ text: String) throws -> Figures {
    let rows = text.split(separator: "\n").map { line in
      line.split(separator: ",").map { $0.trimmingCharacters(in: ["\""]) }
    }
    guard rows.count == 2, rows[0].count == rows[1].count,
      let rate = rows[0].firstIndex(of: "rps"), let last = rows[0].firstIndex(of: "p99_latency_ms"),
      let perSecond = Double(rows[1][rate]), let p99 = Double(rows[1][last])
    else { throw Failure("redis-benchmark printed: \(text)") }
    return Figures(perSecond: perSecond, p99: p99)
  }

  // MARK: The report

  private func ratio(
    _ program: String, _ arrangement: Arrangement, _ figure: (Figures) -> Double
  ) -> Double {
    guard let all = figures[program], let one = all[arrangement], let base = all[.monolithic] else {
      return .nan
    }
    return figure(one) / figure(base)
  }

  /// Throughput, and p99, of each arrangement against the monolithic one.
  public var json: String {
    let programs = Self.programs.map { program in
      let ratios: [(String, Double)] = [
        ("service_vs_monolithic", ratio(program, .service) { $0.perSecond }),
        ("doorbell_vs_monolithic", ratio(program, .doorbell) { $0.perSecond }),
        ("service_p99_vs_monolithic", ratio(program, .service) { $0.p99 }),
        ("doorbell_p99_vs_monolithic", ratio(program, .doorbell) { $0.p99 }),
        ("monolithic_per_second", figures[program]?[.monolithic]?.perSecond ?? .nan),
        ("monolithic_p99_ms", figures[program]?[.monolithic]?.p99 ?? .nan),
      ]
      let fields = ratios.map { "\"\($0.0)\":" + String(format: "%.3f", $0.1) }
      return "\"\(program)\":{\(fields.joined(separator: ","))}"
    }
    return "{\(programs.joined(separator: ","))}"
  }

  /// Lines for a person.
  public var table: [String] {
    Self.programs.flatMap { program in
      ["\(program), \(Self.connections) connections from outside"]
        + Arrangement.allCases.compactMap { arrangement in
          guard let one = figures[program]?[arrangement] else { return nil }
          let name = arrangement.title.padding(toLength: 36, withPad: " ", startingAt: 0)
          return "  " + name
            + String(
              format: "%8.1f/s %5.2f   p99 %8.1f ms %5.2f", one.perSecond,
              ratio(program, arrangement) { $0.perSecond }, one.p99,
              ratio(program, arrangement) { $0.p99 })
        }
    }
  }
}
