// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import LabKit

struct DemoCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "demo",
    abstract: "Build everything, and show a decomposed system at work in the lab.",
    discussion: "Ends with one line of JSON on standard output.")
  @Flag(help: "Use what is in out/ as it is.") var noBuild = false

  func run() throws {
    let workspace = try Workspace()
    if !noBuild { try BuildCommand.buildAll(workspace) }
    Console.shared.headline("lab")
    let lab = try Console.shared.step("start the lab host") {
      try Lab.start(workspace, name: "demo-\(getpid())")
    }
    var demo = Demo(workspace: workspace, system: VosSystem(lab))
    do {
      let line = try demo.run()
      try lab.stop()
      print(line)
    } catch {
      if !Interrupts.raised { Evidence(of: lab).show(as: "demo", in: workspace) }
      try? lab.stop()
      throw error
    }
  }
}

/// The demonstration's steps; every figure it prints was measured in them.
struct Demo {
  let workspace: Workspace
  let system: VosSystem
  /// What the fetches ask the outside server for; it serves the same file whatever the path.
  private let url = "http://\(LabMachine.serverAddress)/ten-mebibytes"

  init(workspace: Workspace, system: VosSystem) {
    self.workspace = workspace
    self.system = system
  }

  mutating func run() throws -> String {
    let before = try system.drivers()
    try bringUp()
    let served = try sha256(of: system.lab.machine.servedFile)
    let stored = try DiskBuild(workspace).dataDigest()
    Console.shared.headline("the primary domain, with nothing but channels to the outside")
    let curl = try fetchWithCurl(expecting: served)
    let read = try readFile(expecting: stored)
    let written = try writeFile()
    let copied = try runStaticPrograms(served: served)
    let report = try system.report()
    let overhead = try measureOverhead(report)
    let boot = try bootSeconds(report)
    Console.shared.headline("down")
    try Console.shared.step("vosctl down") { try system.down(sink: show) }
    let whole = try compareOnHost(written: written, copied: copied)
    let returned = try checkDevices(before)
    return try summary(
      report, curl: curl, read: read, written: whole.written, copied: whole.copied,
      boot: boot, overhead: overhead, returned: returned)
  }

  private func bringUp() throws {
    try Console.shared.step("vosctl up \(VosSystem.manifest)") { try system.up(sink: show) }
    for command in ["ps", "devices"] {
      Console.shared.say("$ vosctl \(command)")
      try system.mustVosctl([command], sink: show)
    }
  }

  private func show(_ bytes: [UInt8], _ isError: Bool) {
    Console.shared.say(
      String(decoding: bytes, as: UTF8.self).trimmingCharacters(in: .newlines))
  }

  private func fetchWithCurl(expecting digest: String) throws -> Bool {
    try Console.shared.step("curl fetches 10 MiB through the network domain's NIC") {
      let script = "curl -sS --fail -o /tmp/curled \(url) && sha256sum < /tmp/curled"
      return try same(system.inDomain("primary", script), digest, "the file that curl fetched")
    }
  }

  private func readFile(expecting digest: String) throws -> Bool {
    try Console.shared.step("sha256sum reads 10 MiB from the storage domain's disk") {
      let text = try system.inDomain("primary", "sha256sum /storage/\(DiskBuild.dataFile)")
      return try same(text, digest, "/storage/\(DiskBuild.dataFile)")
    }
  }

  /// - Returns: the digest of what was written, as the primary saw it before.
  private func writeFile() throws -> String {
    try Console.shared.step("cp writes 10 MiB to the storage domain's disk") {
      let script =
        "head -c \(DiskBuild.dataBytes) /dev/urandom > /tmp/new && cp /tmp/new /storage/written"
        + " && sha256sum < /tmp/new"
      return try digest(in: system.inDomain("primary", script))
    }
  }

  /// - Returns: the digest of what busybox copied to the disk.
  private func runStaticPrograms(served: String) throws -> String {
    try Console.shared.step("a statically linked busybox fetches 10 MiB") {
      let script = "busybox wget -q -O /tmp/got \(url) && busybox sha256sum < /tmp/got"
      _ = try same(system.inDomain("primary", script), served, "the file that busybox fetched")
    }
    try Console.shared.step("busybox copies it to the disk; a shell redirects sort's output there")
    {
      try system.inDomain("primary", "busybox cp /tmp/got /storage/copied")
      try system.inDomain(
        "primary", "sort /storage/docs/words.txt > /storage/sorted && sort -c /storage/sorted")
    }
    return served
  }

  private func measureOverhead(_ report: SystemReport) throws -> [(String, Int)] {
    try report.domains.map { domain in
      guard let process = domain.pid else { throw Failure("\(domain.name) has no process") }
      return (domain.name, try system.overheadKiB(process: process))
    }
  }

  private func bootSeconds(_ report: SystemReport) throws -> [(String, Double)] {
    try report.domains.map { domain in
      guard let seconds = domain.bootSeconds else {
        throw Failure("vosctl ps does not say how long \(domain.name) took to boot")
      }
      return (domain.name, seconds)
    }
  }

  /// Mounts the disk in the lab host, whose own driver has it again.
  private func compareOnHost(written: String, copied: String) throws -> (
    written: Bool, copied: Bool
  ) {
    try Console.shared.step("the lab host mounts the disk and compares") {
      try system.withDisk {
        let first = try same(system.onHost("sha256sum < /mnt/written"), written, "written")
        let second = try same(system.onHost("sha256sum < /mnt/copied"), copied, "copied")
        try system.onHost("sort /mnt/docs/words.txt | cmp - /mnt/sorted")
        return (first, second)
      }
    }
  }

  private func checkDevices(_ before: [String: String]) throws -> Bool {
    try Console.shared.step("devices are with their own drivers again, and nothing runs") {
      let after = try system.drivers()
      guard after == before else { throw Failure("drivers were \(before), and are \(after)") }
      try system.expectNoProcess()
      return true
    }
  }

  private func summary(
    _ report: SystemReport, curl: Bool, read: Bool, written: Bool, copied: Bool,
    boot: [(String, Double)], overhead: [(String, Int)], returned: Bool
  ) throws -> String {
    let calls = report.calls
    guard calls.fast > 0, calls.kernel > 0 else {
      throw Failure(
        "calls by both ways were expected, but \(calls.fast) fast, \(calls.kernel) kernel")
    }
    let bootText = boot.map { "\"\($0.0)\":\(String(format: "%.2f", $0.1))" }
    let overheadText = overhead.map { "\"\($0.0)\":\($0.1)" }
    return """
      {"demo":"ok","domains":\(report.domains.count),"curl_sha256_ok":\(curl),\
      "read_sha256_ok":\(read),"write_sha256_ok":\(written),"static_ok":\(copied),\
      "fast_path_calls":\(calls.fast),"kernel_path_calls":\(calls.kernel),\
      "boot_seconds":{\(bootText.joined(separator: ","))},\
      "vmm_overhead_kib":{\(overheadText.joined(separator: ","))},"devices_returned":\(returned)}
      """
  }

  private func digest(in text: String) throws -> String {
    let word = text.split { $0 == " " || $0 == "\n" }.first.map(String.init) ?? ""
    guard word.count == 64 else { throw Failure("expected a SHA-256, got \"\(text)\"") }
    return word
  }

  /// True when `text` begins with `expected`; throws otherwise, naming `what`.
  private func same(_ text: String, _ expected: String, _ what: String) throws -> Bool {
    let actual = try digest(in: text)
    guard actual == expected else {
      throw Failure("\(what) has SHA-256 \(actual), expected \(expected)")
    }
    return true
  }
}
