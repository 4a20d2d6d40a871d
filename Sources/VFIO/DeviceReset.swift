// SPDX-License-Identifier: Apache-2.0
internal import PCI

/// How a function was, or can be, brought back to a known state.
public enum ResetMethod: Equatable, Sendable, CustomStringConvertible {
  /// The function alone.
  case function
  /// Its bus or slot, with all functions there; the numbers of their groups.
  case hot(groups: [Int])
  /// There is no way; `reason` says why not. The function is only kept from DMA.
  case none(reason: String)

  public var description: String {
    switch self {
    case .function: "function reset"
    case .hot: "bus reset"
    case .none(let reason): "no reset (\(reason))"
    }
  }

  /// The best method there is.
  ///
  /// - Parameters:
  ///   - canReset: the kernel can reset the function alone.
  ///   - scope: what a hot reset would reset; `nil` if there is none.
  ///   - owned: addresses of the functions that are ours.
  ///   - heldGroups: groups that we hold: the kernel asks for proof, and a function of ours in
  ///     another group may be at work in another domain.
  public static func best(
    canReset: Bool, scope: [DependentFunction]?, owned: Set<String>, heldGroups: Set<Int>
  ) -> ResetMethod {
    if canReset { return .function }
    guard let scope else { return .none(reason: "neither function nor bus can be reset") }
    let other = scope.first {
      !owned.contains($0.address) || !heldGroups.contains($0.group)
    }
    if let other {
      return .none(reason: "a bus reset would also reset \(other.address)")
    }
    return .hot(groups: Set(scope.map(\.group)).sorted())
  }
}

/// What configuration space says of a function before and after a reset.
struct ResetCheck: Equatable {
  /// Device and vendor number, the first register.
  let identity: UInt32
  let command: UInt16

  /// Throws unless the function answers and is the one it was.
  func verify(against before: ResetCheck) throws(VFIOError) {
    let vendor = UInt16(truncatingIfNeeded: identity)
    guard vendor != 0xFFFF, vendor != 0, command != 0xFFFF else {
      throw .deadAfterReset(vendor: vendor, command: command)
    }
    guard identity == before.identity else {
      throw .changedByReset(before: before.identity, after: identity)
    }
  }
}

extension VFIODevice {
  /// Resets the function by the best method there is, proves that it answers afterwards, and leaves
  /// it without bus mastering. Must be called before anyone uses the function.
  ///
  /// - Parameters:
  ///   - owned: addresses of all functions that are ours, this one among them.
  ///   - groups: descriptors of the groups we hold, by number.
  /// - Returns: the method used; `none` is no error, but the caller should say so.
  public func resetByBestMethod(
    owned: Set<String>, groups: [Int: Int32]
  ) throws(VFIOError) -> ResetMethod {
    let region = try region(RegionInfo.Index.configuration)
    let before = check(region)
    let scope = try hotResetScope()
    let held = Set(groups.keys)
    var method = ResetMethod.best(
      canReset: canReset, scope: scope, owned: owned, heldGroups: held)
    do {
      try apply(method, groups)
    } catch  where method == .function {
      // A function reset that the kernel offers may still fail; the bus is the second choice.
      method = ResetMethod.best(canReset: false, scope: scope, owned: owned, heldGroups: held)
      guard case .hot = method else { throw error }
      try apply(method, groups)
    }
    try check(region).verify(against: before)
    try stopMastering(region)
    return method
  }

  private func apply(_ method: ResetMethod, _ groups: [Int: Int32]) throws(VFIOError) {
    switch method {
    case .function: try reset()
    case .hot(let numbers): try hotReset(groups: numbers.compactMap { groups[$0] })
    case .none: break
    }
  }

  private func check(_ region: RegionInfo) -> ResetCheck {
    let identity = read(region, offset: UInt64(PCIRegister.vendor), width: 4) ?? .max
    let command = read(region, offset: UInt64(PCIRegister.command), width: 2) ?? .max
    return ResetCheck(
      identity: UInt32(truncatingIfNeeded: identity),
      command: UInt16(truncatingIfNeeded: command))
  }

  private func stopMastering(_ region: RegionInfo) throws(VFIOError) {
    let command = PCICommand(rawValue: check(region).command).subtracting(.busMaster)
    _ = write(
      region, offset: UInt64(PCIRegister.command), width: 2, value: UInt64(command.rawValue))
    let after = check(region)
    guard after.command != 0xFFFF, !PCICommand(rawValue: after.command).contains(.busMaster) else {
      throw .deadAfterReset(
        vendor: UInt16(truncatingIfNeeded: after.identity), command: after.command)
    }
  }
}
