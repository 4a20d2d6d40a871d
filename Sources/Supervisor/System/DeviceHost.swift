// SPDX-License-Identifier: Apache-2.0

/// Why a device cannot be had or given back: one sentence with what to do.
public struct DeviceProblem: Error, Equatable, CustomStringConvertible {
  public let description: String

  public init(_ description: String) {
    self.description = description
  }
}

/// What the supervisor needs of the host's devices; the real one is `HostDeviceKeeper`.
protocol DeviceHost: AnyObject {
  /// Looks whether the functions can be kept apart as `owners`, the domain of each address, says.
  func checkSeparation(_ owners: [String: String]) throws(DeviceProblem)
  /// Looks whether `address` may be taken, and notes what it has now. Changes nothing.
  ///
  /// - Parameter together: all functions that the system takes.
  func examine(
    _ address: String, for domain: String, together: Set<String>
  ) throws(DeviceProblem) -> JournalRecord.Device
  /// Takes it from its driver and makes it ready for a domain.
  func take(_ device: JournalRecord.Device) throws(DeviceProblem)
  /// Gives it back to what it had, and verifies that.
  func giveBack(_ device: JournalRecord.Device) throws(DeviceProblem)
  /// Opens the devices of one domain, all in one new container; reset and verified.
  func open(_ addresses: [String]) throws(DeviceProblem) -> OpenDevices
}

/// The open devices of one domain.
struct OpenDevices {
  var container: Int32
  /// In the order asked for.
  var devices: [Int32]
  /// How each was reset, for the log.
  var notes: [String]
  /// Keeps all of them open.
  var owner: AnyObject
}
