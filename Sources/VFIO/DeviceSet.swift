// SPDX-License-Identifier: Apache-2.0
public import LinuxSystem

/// The functions of one domain, open in one container: what a supervisor does before it passes the
/// container's and the devices' descriptors on.
///
/// The descriptors close with the set. Those that were passed on keep everything alive: a device's
/// descriptor holds its group, so the groups need not be passed. The set must be gone before the
/// functions are given back to the host.
public final class VFIODeviceSet {
  /// A function to open. It is bound to vfio-pci.
  public struct Request: Equatable, Sendable {
    /// `0000:01:00.0`
    public let address: String
    public let group: Int
    /// The group's node, such as `/dev/vfio/7`.
    public let groupPath: String

    public init(address: String, group: Int, groupPath: String) {
      self.address = address
      self.group = group
      self.groupPath = groupPath
    }
  }

  private final class OpenGroup {
    let group: VFIOGroup
    init(_ group: consuming VFIOGroup) { self.group = group }
  }

  private final class OpenDevice {
    let device: VFIODevice
    init(_ device: consuming VFIODevice) { self.device = device }
  }

  private let container: VFIOContainer
  private var groups: [Int: OpenGroup] = [:]
  private var devices: [OpenDevice] = []
  /// How each function was reset, in the order of the requests. `none` deserves a warning.
  public private(set) var resets: [ResetMethod] = []

  /// Opens all of `requests` (at least one), and resets each by the best method there is.
  ///
  /// All functions are open before the first is reset, since a bus reset needs every group that it
  /// touches.
  public init(_ requests: [Request], containerPath: String = VFIOContainer.path) throws(VFIOError) {
    container = try VFIOContainer.open(containerPath)
    var isFirst = true
    for request in requests where groups[request.group] == nil {
      let group = try VFIOGroup.open(request.groupPath)
      try group.join(container)
      // The container takes its kind from its first group; the others must fit.
      if isFirst { try container.enableTypeOne() }
      isFirst = false
      groups[request.group] = OpenGroup(group)
    }
    for request in requests {
      guard let group = groups[request.group] else { continue }
      devices.append(OpenDevice(try group.group.device(request.address)))
    }
    let owned = Set(requests.map(\.address))
    let numbers = groups.mapValues { $0.group.descriptor.rawValue }
    for device in devices {
      resets.append(try device.device.resetByBestMethod(owned: owned, groups: numbers))
    }
  }

  /// The container's descriptor, borrowed.
  public var containerDescriptor: Int32 { container.descriptor.rawValue }

  /// The devices' descriptors, borrowed, in the order of the requests.
  public var deviceDescriptors: [Int32] { devices.map { $0.device.descriptor.rawValue } }

  /// A second descriptor of the container, which the caller owns.
  public func duplicateContainer() throws(VFIOError) -> OwnedDescriptor {
    try vfioCall { () throws(SystemCallError) in try container.descriptor.duplicate() }
  }

  /// A second descriptor of device `index`, an index into the requests, which the caller owns.
  public func duplicateDevice(_ index: Int) throws(VFIOError) -> OwnedDescriptor {
    let device = devices[index]
    return try vfioCall { () throws(SystemCallError) in try device.device.descriptor.duplicate() }
  }
}
