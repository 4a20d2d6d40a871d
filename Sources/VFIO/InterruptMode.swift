// SPDX-License-Identifier: Apache-2.0

/// Which interrupts of a physical function are on. At most one kind is at a time.
struct InterruptMode {
  enum Mode: Equatable {
    case none
    case line
    case msi(Int)
    case msix(Int)

    var kind: InterruptKind? {
      switch self {
      case .none: nil
      case .line: .intx
      case .msi: .msi
      case .msix: .msix
      }
    }
  }

  enum Action: Equatable {
    case disable(InterruptKind)
    case enable(Mode)
  }

  private(set) var mode: Mode = .none

  /// The guest's registers ask for `wanted` now: what is to be done, in order.
  mutating func change(to wanted: Mode) -> [Action] {
    guard wanted != mode else { return [] }
    let old = mode.kind
    mode = wanted
    let off = old.map { [Action.disable($0)] } ?? []
    return wanted == .none ? off : off + [.enable(wanted)]
  }

  /// Enabling failed: nothing is on.
  mutating func failed() { mode = .none }
}
