// SPDX-License-Identifier: Apache-2.0
public import Foundation

/// What helps to see why something failed in a lab host.
public struct Evidence: Sendable {
  /// The lines that say most, for a result that is read without the log.
  public let digest: [String]
  /// Whether the lab host still does what it is told; if not, only a new one is of use.
  public let isAnswered: Bool
  private let text: String

  private static let digestLines = 12
  private static let answerSeconds = 90.0
  private static let callLimit = 12
  /// Between two looks at processors that may stand still.
  private static let lookSeconds: UInt32 = 2

  /// Asks the lab host; where it does not answer, its emulator.
  public init(of lab: Lab) {
    let script =
      "dmesg | tail -n 200; tail -n 200 \(VosSystem.log); vosctl ps; vosctl devices; "
      + "ps | grep '[v]os'; vosctl ps --json; "
      + "for d in primary network storage; do echo \"=== in $d\"; timeout 15 vosctl exec $d -- sh -c "
      + "'grep vos /proc/interrupts; for t in /proc/[0-9]*/task/*; do readlink $t/exe && "
      + "cat $t/stat $t/stack; done; cat /proc/loadavg /proc/interrupts; dmesg | tail -n 40'; done; "
      + "for f in /run/vos/*/*; do [ -f \"$f\" ] && echo \"=== $f\" && tail -c 65536 \"$f\"; done"
    do {
      let said = try lab.agent.shell(script, withinSeconds: Evidence.answerSeconds)
      let last = try lab.agent.shell(
        "tail -n \(Evidence.digestLines) \(VosSystem.log)", withinSeconds: Evidence.answerSeconds)
      (text, digest, isAnswered) = (said.output + said.errors, Evidence.lines(last.output), true)
    } catch {
      let console = Evidence.lines(lab.consoleText()).suffix(Evidence.digestLines)
      let looks = Evidence.looks(at: lab)
      text = "the lab host does not answer: \(error)\n\(looks)\n\(lab.consoleText())"
      digest = ["the lab host does not answer"] + Evidence.places(in: looks) + console
      isAnswered = false
    }
  }

  /// Writes all of it; returns the file.
  public func keep(as name: String, in workspace: Workspace) throws -> URL {
    let log = try workspace.log("\(name)-evidence")
    try Data(text.utf8).write(to: log)
    return log
  }

  /// The processors' registers and the emulator's threads, twice: what is the same stands still.
  private static func looks(at lab: Lab) -> String {
    var text = ""
    for look in 1...2 {
      if look > 1 { sleep(lookSeconds) }
      let registers = (try? lab.monitor("info registers -a")) ?? "QEMU's monitor is silent"
      let status = (try? lab.monitor("info status")) ?? ""
      text += "=== look \(look)\n\(status)\n\(registers)\n\(lab.emulatorThreads())\n"
    }
    return text + (0..<lab.machine.processors).map { calls(of: $0, lab) }.joined()
  }

  /// What may be return addresses on a processor's stack, the innermost first: kernel text lies in the
  /// first 16 MiB above its start (Documentation/x86/x86_64/mm.rst). To the monitor, `$esp` has 64 bits.
  private static func calls(of processor: Int, _ lab: Lab) -> String {
    let stack = (try? lab.monitor("x/128gx $esp", processor: processor)) ?? ""
    let words = stack.split { $0.isWhitespace }.map { String($0.suffix(16)) }
    let calls = words.filter { $0.hasPrefix("ffffffff81") }.prefix(callLimit)
    return "CPU#\(processor) calls: \(calls.joined(separator: " "))\n"
  }

  /// Where each processor is and what each thread of the emulator does.
  static func places(in looks: String) -> [String] {
    let telling = ["RIP=", "=== ", "VM status", "QEMU", "thread ", "CPU#"]
    return lines(looks).filter { line in telling.contains { line.hasPrefix($0) } }
  }

  private static func lines(_ text: String) -> [String] {
    text.split(whereSeparator: \.isNewline).map(String.init)
  }
}
