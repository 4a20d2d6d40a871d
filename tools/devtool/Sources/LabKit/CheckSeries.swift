// SPDX-License-Identifier: Apache-2.0

/// A system in a lab host, in which checks run one after another.
public protocol CheckedSystem {
  var lab: Lab { get }
  /// Ends what a failed check may have left, so that the next one does not stumble over it.
  func tidy()
}

/// Checks that share a lab host. It is renewed when the emulated machine itself fails.
public struct CheckSeries<System: CheckedSystem> {
  public struct Check {
    let name: String
    let body: (System) throws -> Void

    public init(_ name: String, _ body: @escaping (System) throws -> Void) {
      (self.name, self.body) = (name, body)
    }
  }

  /// How often the emulated machine itself may fail: QEMU 7.2 dies (a processor may look up a device
  /// access in a memory map that another is just changing: tcg_commit, mended in 8.2), the kernel of the
  /// lab host stands still, or a guest gets an interrupt twice (`GuestFault`). Programs cannot do that
  /// to any of them, so it is never a check's fault: the check is run again, and the result says so.
  private let faultLimit = 2
  /// What the checks are called in the result, and their evidence in the logs.
  private let title: String
  private let workspace: Workspace
  private let start: () throws -> System

  public init(_ title: String, _ workspace: Workspace, start: @escaping () throws -> System) {
    (self.title, self.workspace, self.start) = (title, workspace, start)
  }

  /// Runs all of them; throws only if there can be no lab host, or on an interrupt.
  public func run(_ checks: [Check]) throws -> Tally {
    var tally = Tally()
    var rest = checks[...]
    while !rest.isEmpty {
      let system = try start()
      defer { try? system.lab.stop() }
      while let check = rest.first {
        guard let problem = try failure(of: check, system) else {
          tally.passed += 1
          rest.removeFirst()
          continue
        }
        let evidence = Evidence(of: system.lab)
        if let fault = evidence.fault, tally.notes.count < faultLimit {
          tally.notes.append("\(title): \(check.name): \(fault): ran again in a new lab host")
          show(problem, evidence, as: "fault-\(tally.notes.count)")
          break
        }
        rest.removeFirst()
        tally.failed.append("\(title): \(check.name): \(problem)")
        show(problem, evidence, as: "\(title)-\(tally.failed.count)")
        guard evidence.fault == nil else { break }
        system.tidy()
      }
    }
    return tally
  }

  /// What went wrong; `nil` if nothing did.
  private func failure(of check: Check, _ system: System) throws -> (any Error)? {
    do {
      try Console.shared.step(check.name) { try check.body(system) }
      return nil
    } catch {
      guard !Interrupts.raised else { throw error }
      return error
    }
  }

  private func show(_ problem: any Error, _ evidence: Evidence, as name: String) {
    Console.shared.say("       \(problem)")
    evidence.show(as: name, in: workspace)
  }
}

extension VosSystem: CheckedSystem {
  public func tidy() { _ = try? vosctl(["down"], withinSeconds: 60) }
}

extension ProgramLab: CheckedSystem {
  public var lab: Lab { system.lab }
  /// What a program leaves behind is what the next one has to live with.
  public func tidy() {}
}
