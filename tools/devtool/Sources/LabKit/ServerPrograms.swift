// SPDX-License-Identifier: Apache-2.0
import Foundation

extension ProgramCheck {
  /// Servers in the primary, with clients outside.
  static let servers = [
    ProgramCheck("python3 -m http.server, fetched from outside") { lab in
      try prepareFiles(lab)
      return try lab.withServer(
        "setsid python3 -m http.server 8001 --directory /storage/www", port: 8001,
        stop: "pkill -f http.server"
      ) {
        try fetchBoth(lab, port: 8001)
        return "files on /storage, from outside and by loopback"
      }
    },
    ProgramCheck("nginx with 4 workers, wrk outside") { lab in
      try prepareFiles(lab)
      try lab.inside("cp /share/nginx.conf /tmp/nginx.conf")
      return try lab.withServer(
        "nginx -c /tmp/nginx.conf", port: 8002, stop: "nginx -c /tmp/nginx.conf -s stop"
      ) {
        let workers = try lab.inside("pgrep -c -f '^nginx: worker'")
        try expect(workers == "4", "\(workers) workers")
        try fetchBoth(lab, port: 8002)
        let text = try lab.outside(
          "wrk -t 2 -c 16 -d 10s --timeout 30s \(lab.url(8002, "small"))")
        try expect(!text.contains("Socket errors") && !text.contains("Non-2xx"), text)
        let requests = try number(text, after: /(\d+) requests in/)
        try expect(requests > 0, text)
        return "\(Int(requests)) requests of 16 connections in 10 s, no error"
      }
    },
    ProgramCheck("redis-server, redis-benchmark outside") { lab in
      try lab.inside("rm -rf /storage/redis; mkdir /storage/redis")
      let address = "-h \(ProgramLab.address)"
      return try lab.withServer(
        "setsid redis-server --port 6379 --bind 0.0.0.0 --protected-mode no --dir /storage/redis "
          + "--appendonly yes --save 3600 1", port: 6379, stop: "pkill redis-server"
      ) {
        let text = try lab.outside(
          "redis-benchmark \(address) -n 300 -c 20 -t set,get,incr,lpush -d 64 --csv",
          withinSeconds: 240)
        let rows = text.split(separator: "\n").dropFirst()
        try expect(rows.count == 4, text)
        let told = try lab.outside(
          "redis-cli \(address) get counter:__rand_int__; redis-cli \(address) set k v; "
            + "redis-cli \(address) get k; redis-cli \(address) llen mylist; "
            + "redis-cli \(address) bgsave; sleep 3; redis-cli \(address) shutdown save")
        try expect(
          told == "300\nOK\nv\n300\nBackground saving started", "redis-cli printed \(told)")
        try lab.inside(
          "while pgrep redis-server > /dev/null; do sleep 0.2; done; cd /storage/redis && "
            + "redis-check-rdb dump.rdb && redis-check-aof appendonlydir/*.manifest",
          withinSeconds: 60)
        return "4 × 300 commands of 20 connections; RDB and AOF on /storage are sound"
      }
    },
    ProgramCheck("iperf3 both ways") { lab in
      try lab.withServer("setsid iperf3 -s", port: 5201, stop: "pkill iperf3") {
        var rates: [String] = []
        for way in ["", "-R", "-P 4"] {
          let text = try lab.outside("iperf3 -c \(ProgramLab.address) -t 4 -f m \(way)")
          let rate = try number(
            text.split(separator: "\n").last { $0.contains("receiver") }.map(String.init) ?? text,
            after: /([\d.]+) Mbits\/sec/)
          try expect(rate > 0, text)
          rates.append("\(way.isEmpty ? "in" : way) \(rate)")
        }
        return rates.joined(separator: ", ") + " Mbit/s"
      }
    },
  ]

  /// Of the large file's bytes, how many the small one has. Long transfers from an emulated e1000e to
  /// another NIC on the hub may stall in retransmissions, so only these go over the wire.
  private static let smallBytes = 60_000

  private static func prepareFiles(_ lab: ProgramLab) throws {
    try lab.inside(
      "mkdir -p /storage/www && cp /share/random /storage/www/random && "
        + "head -c \(smallBytes) /share/random > /storage/www/small")
  }

  /// Fetches the small file from outside, three times, and the large one by loopback.
  private static func fetchBoth(_ lab: ProgramLab, port: Int) throws {
    let large = try sha256(of: lab.share.appending(path: "random"))
    let small = try lab.inside("sha256sum < /storage/www/small")
    for _ in 0..<3 {
      let digest = try lab.outside("curl -sS --fail \(lab.url(port, "small")) | sha256sum")
      try expect(digest == small, "from outside: SHA-256 \(digest), expected \(small)")
    }
    let digest = try lab.inside("curl -sS --fail http://127.0.0.1:\(port)/random | sha256sum")
    try expect(digest.hasPrefix(large), "by loopback: SHA-256 \(digest), expected \(large)")
  }

  /// Programs that no preloaded library reaches; built from tools/programs.
  static let statics = [
    ProgramCheck("a static C program") { lab in
      try runStatic(lab, "c", "\(LabMachine.serverAddress) 80", fast: ["files", "sockets"])
      return "sockets, mappings, offsets over fork, epoll; the same rewritten"
    },
    ProgramCheck("a static Go program") { lab in
      try runStatic(
        lab, "go", "http://\(LabMachine.serverAddress)/random", fast: ["files"])
      return "net/http both ways, 16 goroutines with files; the same rewritten"
    },
  ]

  /// Runs /share/static-NAME as it is, then with its system calls turned to libvos.
  private static func runStatic(
    _ lab: ProgramLab, _ name: String, _ arguments: String, fast kinds: [String]
  ) throws {
    let expected = try sha256(of: lab.share.appending(path: "random"))
    for run in ["", "VOS_DEBUG=1 vos-run --rewrite "] {
      let text = try lab.inside(
        "rm -rf /storage/\(name); mkdir -p /storage/\(name) && "
          + "\(run)/share/static-\(name) /storage/\(name) \(arguments) 2>&1 && "
          + "sha256sum < /storage/\(name)/fetched-by-\(name)")
      try expect(text.contains(expected), "\(run)printed \(text), expected \(expected)")
      guard !run.isEmpty else { continue }
      for kind in kinds {
        let count = try Regex("\(kind): slice \\d+ fast [1-9].*, rewritten")
        try expect(text.contains(count), "no fast calls on \(kind): \(text)")
      }
    }
  }
}
