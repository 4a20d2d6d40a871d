// SPDX-License-Identifier: Apache-2.0
import Foundation

/// One unmodified program of Debian, run in the primary and checked for right output.
public struct ProgramCheck: Sendable {
  public var name: String
  /// Says in a few words what was seen; throws when that is not right.
  public var body: @Sendable (ProgramLab) throws -> String

  init(_ name: String, _ body: @escaping @Sendable (ProgramLab) throws -> String) {
    (self.name, self.body) = (name, body)
  }

  /// What all of them need.
  public static let packages = [
    "busybox-static", "curl", "git", "inotify-tools", "iperf3", "nginx-light", "procps", "python3",
    "redis-server", "redis-tools", "sqlite3", "strace", "wrk",
  ]

  public static let all = clients + files + servers + statics
}

extension ProgramLab {
  /// Runs a shell script in the primary and returns its output; throws unless it exits with 0.
  @discardableResult
  func inside(
    _ script: String, shell: String = "sh", variables: [String] = [],
    withinSeconds seconds: Double = 240
  ) throws -> String {
    let result = try system.vosctl(
      ["exec"] + (["LANG=C.UTF-8"] + variables).flatMap { ["-e", $0] }
        + ["primary", "--", shell, "-c", script],
      withinSeconds: seconds)
    guard result.code == 0 else {
      throw Failure(
        "exit code \(result.code) in the primary: \(ProgramLab.lastLines(result))\n\(script)")
    }
    return result.text
  }

  private static func lastLines(_ result: LabResult) -> String {
    (result.output + result.errors).split(separator: "\n").suffix(12).joined(separator: "\n")
  }

  /// Starts a server in the primary and waits until it listens; ends it after `body`. It is not asked
  /// by a connection: iperf3 takes one that says nothing for a failed test, and listens anew.
  func withServer<Result>(
    _ command: String, port: Int, stop: String, _ body: () throws -> Result
  ) throws -> Result {
    try inside("mkdir -p /storage/www; \(command) > /tmp/server.log 2>&1 < /dev/null &")
    defer { _ = try? inside(stop) }
    do {
      try inside(
        "timeout 240 sh -c 'until ss -Hltn | grep -q \":\(port) \"; do sleep 0.2; done'",
        withinSeconds: 300)
      return try body()
    } catch let failure as Failure {
      let said = (try? inside("tail -n 12 /tmp/server.log")) ?? ""
      throw Failure(failure.message + (said.isEmpty ? "" : "\nthe server said: \(said)"))
    }
  }

  func url(_ port: Int, _ path: String) -> String { "http://\(ProgramLab.address):\(port)/\(path)" }
}

/// The program's own figure out of its output, or why there is none.
func number(_ text: String, after marker: Regex<(Substring, Substring)>) throws -> Double {
  guard let match = text.firstMatch(of: marker), let value = Double(match.1) else {
    throw Failure("no figure in: \(text)")
  }
  return value
}

extension ProgramCheck {
  private static let served = "http://\(LabMachine.serverAddress)/random"

  static let clients = [
    ProgramCheck("curl fetches a file") { lab in
      let digest = try lab.inside("curl -sS --fail -o /root/got \(served) && sha256sum < /root/got")
      let expected = try sha256(of: lab.share.appending(path: "random"))
      try expect(digest.hasPrefix(expected), "SHA-256 \(digest), expected \(expected)")
      return "SHA-256 as served"
    },
    ProgramCheck("git clones onto /storage") { lab in
      try lab.outside(gitServer, withinSeconds: 240)
      let head = try lab.outside("git -C /tmp/srv/tree rev-parse HEAD")
      let clone = "git://\(ProgramLab.peerAddress)/tree"
      try lab.inside("rm -rf /storage/tree; git clone -q \(clone) /storage/tree")
      let text = try lab.inside(
        "cd /storage/tree && git fsck --full --strict 2>&1 && git status --porcelain && "
          + "git rev-parse HEAD && git ls-files | wc -l")
      try expect(text == "\(head)\n120", "expected \(head) and 120 files, got: \(text)")
      try lab.inside(gitWork)
      return "120 files, fsck and gc find nothing amiss"
    },
  ]

  private static let identity = "-c user.name=vos -c user.email=vos@localhost"

  private static let gitServer = """
    set -e; mkdir -p /tmp/srv; cd /tmp/srv; rm -rf tree; git init -q tree; cd tree
    for commit in 1 2 3; do
      mkdir part$commit
      for n in $(seq 40); do seq $((n * commit)) $((n * commit + 500)) > part$commit/$n; done
      git add . && git \(identity) commit -q -m "commit $commit"
    done
    git daemon --base-path=/tmp/srv --export-all --detach
    """

  private static let gitWork = """
    set -e; cd /storage/tree; git checkout -q -b more; echo more > part1/1; git mv part2/2 part2/two
    git \(identity) commit -q -a -m more; git gc -q; git fsck --full --strict
    [ -z "$(git status --porcelain)" ]; [ "$(git log --oneline | wc -l)" = 4 ]
    """

  static let files = [
    ProgramCheck("sqlite3 on /storage, synchronous=FULL") { lab in
      try lab.inside("mkdir -p /storage/db /tmp/db; rm -f /storage/db/* /tmp/db/*")
      for mode in ["DELETE", "WAL"] {
        let local = try lab.inside(sqlite("/tmp/db/\(mode)", mode), variables: ["VOS_FAST=0"])
        let remote = try lab.inside(sqlite("/storage/db/\(mode)", mode))
        try expect(remote.contains("\nok\n"), "no sound database: \(remote)")
        try expect(remote == local, "journal \(mode): got \(remote), on a local disk \(local)")
      }
      return "integrity_check ok with a rollback journal and with WAL"
    },
    ProgramCheck("tar and sha256sum of a source tree") { lab in
      let digest = "find . -type f | LC_ALL=C sort | xargs sha256sum | sha256sum"
      let expected = try capture(["sh", "-c", "cd '\(lab.share.path)/sources' && \(digest)"])
      try lab.inside(
        "rm -rf /storage/sources; tar -C /share -cf - sources | tar -C /storage -xf - && "
          + "tar -C /storage -cf /storage/tree.tar sources && "
          + "tar -C /storage -df /storage/tree.tar")
      for folder in ["/share/sources", "/storage/sources"] {
        let actual = try lab.inside("cd \(folder) && \(digest)")
        try expect(actual.prefix(64) == expected.prefix(64), "\(folder): \(actual), \(expected)")
      }
      return "as on the build machine"
    },
    ProgramCheck("vos-run sets the fast path for one program") { lab in
      let expected = try sha256(of: lab.share.appending(path: "random"))
      try lab.inside("cp /share/random /storage/random")
      let run = { (options: String) in
        try lab.inside("VOS_DEBUG=1 vos-run \(options) sha256sum /storage/random 2>&1")
      }
      let rewritten = try run("--rewrite --spin 100000")
      try expect(rewritten.contains(expected), "--rewrite: \(rewritten), expected \(expected)")
      try expect(
        rewritten.contains(/files: slice \d+ fast [1-9].*, rewritten/), "--rewrite: \(rewritten)")
      let without = try run("--no-fast")
      try expect(without.hasPrefix(expected), "--no-fast: \(without), expected \(expected)")
      try expect(!without.contains("libvos:"), "--no-fast: \(without)")
      let refused = try lab.inside("vos-run --spin 5 /share/static-c 2>&1; echo $?")
      try expect(
        refused.contains("is a static program") && refused.hasSuffix("125"), "printed \(refused)")
      return "a stream read without a trap, and with traps alone"
    },
    ProgramCheck("a shell script of 200 lines on /storage") { lab in
      for shell in ["dash", "bash"] {
        let run = "rm -rf $d; mkdir $d; \(shell) /share/redirections.sh $d 2>&1"
        let local = try lab.inside("d=/tmp/script; \(run)", variables: ["VOS_FAST=0"])
        let remote = try lab.inside("d=/storage/script; \(run)")
        try expect(local.hasSuffix("-- done"), "\(shell) in /tmp: \(local.suffix(300))")
        try expect(remote == local, "\(shell): \(firstDifference(remote, local))")
      }
      return "dash and bash print what they print in /tmp"
    },
    ProgramCheck("inotifywait tells of programs on /storage") { lab in
      let local = try lab.inside("sh /share/watched.sh /tmp/w", variables: ["VOS_FAST=0"])
      let remote = try lab.inside("sh /share/watched.sh /storage/w")
      try expect(local.contains("MODIFY log\n"), "in /tmp it told: \(local)")
      try expect(remote == local, firstDifference(remote, local))
      return "the events are those of /tmp"
    },
  ]

  private static func sqlite(_ path: String, _ mode: String) -> String {
    """
    sqlite3 \(path) <<'END' && for n in 1 2 3 4 5 6 7 8; do
    PRAGMA journal_mode=\(mode); PRAGMA synchronous=FULL; PRAGMA synchronous;
    CREATE TABLE t(k INTEGER PRIMARY KEY, v TEXT);
    BEGIN;
    INSERT INTO t WITH RECURSIVE c(x) AS (SELECT 1 UNION ALL SELECT x + 1 FROM c WHERE x < 3000)
      SELECT x, hex(x * x) FROM c;
    COMMIT;
    CREATE INDEX i ON t(v);
    UPDATE t SET v = v || 'x' WHERE k % 7 = 0; DELETE FROM t WHERE k % 11 = 0; VACUUM;
    END
      sqlite3 \(path) "PRAGMA synchronous=FULL; INSERT INTO t VALUES(10000 + $n, 'late');" || exit 1
    done
    sqlite3 \(path) "PRAGMA integrity_check; SELECT count(*), sum(k), sum(length(v)) FROM t;"
    """
  }

  /// The first line in which two texts differ.
  private static func firstDifference(_ text: String, _ expected: String) -> String {
    let lines = text.split(separator: "\n", omittingEmptySubsequences: false)
    let others = expected.split(separator: "\n", omittingEmptySubsequences: false)
    for (index, line) in lines.enumerated() where index >= others.count || line != others[index] {
      let other = index < others.count ? others[index] : "nothing"
      return "line \(index + 1) is \"\(line)\", expected \"\(other)\""
    }
    return "ends after line \(lines.count): \(text.suffix(200))"
  }
}
