// SPDX-License-Identifier: Apache-2.0

/// What a function had before we touched it: all that is needed to give it back, from whatever
/// point the taking was cut short at. It is written down *before* the first change.
public struct BindingRecord: Equatable, Sendable, Codable {
  /// `0000:01:00.0`
  public let address: String
  /// The driver it had, `nil` if none.
  public let originalDriver: String?
  /// Its `driver_override`, `nil` if none.
  public let originalOverride: String?

  public init(address: String, originalDriver: String?, originalOverride: String?) {
    self.address = address
    self.originalDriver = originalDriver
    self.originalOverride = originalOverride
  }
}

/// One write to sysfs on the way from one binding to another.
enum BindingStep: Equatable, Sendable {
  /// Have only this driver take the function from now on; `nil` lets any.
  case setOverride(String?)
  /// Take the function from `driver`.
  case unbind(driver: String)
  /// Have the drivers look at the function.
  case probe
  /// Give the function to `driver`.
  case bind(driver: String)
}

/// What a function is bound to, now or as it should be.
struct Binding: Equatable, Sendable {
  var driver: String?
  var driverOverride: String?

  /// What leads from here to VFIO's driver. Nothing, if it is there already.
  func steps(toTake target: String) -> [BindingStep] {
    guard driver != target else { return driverOverride == target ? [] : [.setOverride(target)] }
    return [.setOverride(target)] + (driver.map { [.unbind(driver: $0)] } ?? []) + [.probe]
  }

  /// What leads from here to `original`. The override comes first, so that nobody else's probing
  /// gives the function to VFIO's driver again; binding names the driver, so that none other takes
  /// it.
  func steps(toRestore original: Binding) -> [BindingStep] {
    guard driver != original.driver else {
      let differs = driverOverride != original.driverOverride
      return differs ? [.setOverride(original.driverOverride)] : []
    }
    // A driver binds only what no override keeps from it; it may even need the override to match.
    let allowsBinding = original.driver == nil || original.driverOverride == original.driver
    let meanwhile = allowsBinding ? original.driverOverride : nil
    var steps: [BindingStep] = []
    if driverOverride != meanwhile { steps.append(.setOverride(meanwhile)) }
    if let driver { steps.append(.unbind(driver: driver)) }
    if let wanted = original.driver { steps.append(.bind(driver: wanted)) }
    if meanwhile != original.driverOverride { steps.append(.setOverride(original.driverOverride)) }
    return steps
  }
}
