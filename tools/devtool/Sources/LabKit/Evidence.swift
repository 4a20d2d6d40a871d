// SPDX-License-Identifier: Apache-2.0
import Foundation

/// What helps to see why something failed in a lab host.
public struct Evidence: Sendable {
  /// The lines that say most, for a result that is read without the log.
  private let digest: [String]
  /// What is wrong with the emulated machine as a whole, if anything: then only a new one is of use.
  let fault: String?
  private let text: String

  private static let digestLines = 12
  private static let answerSeconds = 30.0
  /// A part that says nothing by then will not.
  private static let partSeconds = 20.0
  private static let callLimit = 12
  /// Between two looks at processors that may stand still.
  private static let lookSeconds: UInt32 = 2

  /// Asks the lab host; where it does not answer, its emulator.
  public init(of lab: Lab) {
    do {
      _ = try lab.agent.run(["true"], withinSeconds: Evidence.answerSeconds)
    } catch {
      self.init(ofSilent: lab, error)
      return
    }
    self.init(ofAnswering: lab)
  }

  /// Each part of its own: one that hangs is itself a finding.
  private init(ofAnswering lab: Lab) {
    let parts = Evidence.scripts.map { (name: $0.name, said: Evidence.ask(lab, $0.script)) }
    text = parts.map { "=== \($0.name)\n\($0.said)\n" }.joined()
    digest = parts.filter { Evidence.digested.contains($0.name) }
      .flatMap { Evidence.lines($0.said).suffix(Evidence.digestLines) }
    fault = GuestFault.inPanic(text)
  }

  private init(ofSilent lab: Lab, _ error: any Error) {
    let console = Evidence.lines(lab.consoleText()).suffix(Evidence.digestLines)
    let looks = Evidence.looks(at: lab)
    text = "the lab host does not answer: \(error)\n\(looks)\n\(lab.consoleText())"
    digest = ["the lab host does not answer"] + Evidence.places(in: looks) + console
    fault = lab.emulatorFault() ?? "the lab host stood still"
  }

  private static let digested = ["log", "stacks", "kernel"]
  private static let scripts =
    [
      (name: "kernel", script: "dmesg | tail -n 200"),
      (name: "log", script: "tail -n 200 \(VosSystem.log)"),
      (
        name: "stacks",
        script: "for p in $(pidof vosctl vosd vosvmm); do for t in /proc/$p/task/*; do "
          + "echo $t $(cat $t/comm $t/wchan) $(head -n 3 $t/stack); done; done"
      ),
      (name: "processes", script: "ps; cat /proc/loadavg /proc/meminfo /proc/interrupts"),
      (name: "vosctl", script: "vosctl ps; vosctl devices; vosctl ps --json"),
      (
        name: "runtime",
        script: "for f in /run/vos/*/*; do [ -f $f ] && echo \"=== $f\" && tail -c 65536 $f; done"
      ),
    ]
    + ["primary", "network", "storage"].map { domain in
      (
        name: domain,
        script: "vosctl exec \(domain) -- sh -c 'grep vos /proc/interrupts; "
          + "for t in /proc/[0-9]*/task/*; do readlink $t/exe && cat $t/stat $t/stack; done; "
          + "cat /proc/loadavg /proc/interrupts; dmesg | tail -n 40'"
      )
    }

  /// What a script says; it need not end well, nor end.
  private static func ask(_ lab: Lab, _ script: String) -> String {
    var said: [UInt8] = []
    do {
      _ = try lab.agent.shell(script, withinSeconds: partSeconds) { piece, _ in said += piece }
      return String(decoding: said, as: UTF8.self)
    } catch {
      return String(decoding: said, as: UTF8.self) + "\n\(error)"
    }
  }

  /// Says the lines that say most, and where all of it is kept.
  public func show(as name: String, in workspace: Workspace) {
    for line in digest { Console.shared.say("           \(line)") }
    if let log = try? keep(as: name, in: workspace) {
      Console.shared.say("       evidence: \(log.path)")
    }
  }

  /// Writes all of it; returns the file.
  func keep(as name: String, in workspace: Workspace) throws -> URL {
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
    return text
      + (0..<lab.machine.processors).map { processor in
        calls(of: processor, lab) + ((try? lab.monitor("info lapic \(processor)")) ?? "")
      }.joined()
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
