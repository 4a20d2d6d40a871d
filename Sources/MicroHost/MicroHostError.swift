// SPDX-License-Identifier: Apache-2.0
public import Channel
public import KVM
public import LinuxSystem
public import Machine

/// Why a micro guest could not be run, or its run is of no use.
public enum MicroHostError: Error, CustomStringConvertible {
  case system(SystemCallError)
  case machine(MachineError)
  case kvm(KVMError)
  case channel(GeometryError)
  /// There are not enough processors to run both guests at once.
  case tooFewProcessors(available: Int, needed: Int)
  /// A guest did not end by itself.
  case notEnded(guest: String, seconds: Int, console: [String])
  /// A guest's checks failed, or it did not print what it should have.
  case badRun(guest: String, reason: String, console: [String])
  /// The guest did not reach a step in time.
  case stepNotReached(step: UInt64, seconds: Int)
  /// Reads in blocks of that many bytes gave wrong bytes, or, if it is not said how many, failed.
  case badCopy(Int, wrongBytes: UInt64?)

  public var description: String {
    switch self {
    case .system(let error): "\(error)"
    case .machine(let error): "\(error)"
    case .kvm(let error): "\(error)"
    case .channel(let error): "channel region: \(error)"
    case .tooFewProcessors(let available, let needed):
      "\(needed) processors are needed so that both guests can spin, \(available) may be used"
    case .notEnded(let guest, let seconds, let console):
      "guest \(guest) did not end within \(seconds) s; its console:\n" + joined(console)
    case .badRun(let guest, let reason, let console):
      "guest \(guest): \(reason); its console:\n" + joined(console)
    case .badCopy(let block, let wrong):
      "reads in blocks of \(block) bytes "
        + (wrong.map { "gave \($0) wrong bytes" } ?? "did not give all bytes")
    case .stepNotReached(let step, let seconds):
      "the measuring guest did not reach step \(step) within \(seconds) s"
    }
  }

  private func joined(_ lines: [String]) -> String {
    lines.map { "  " + $0 }.joined(separator: "\n")
  }
}

/// Runs `body`, whose error becomes a `MicroHostError`.
func asSystem<R: ~Copyable>(
  _ body: () throws(SystemCallError) -> R
) throws(MicroHostError) -> R {
  do throws(SystemCallError) { return try body() } catch { throw .system(error) }
}
