// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc
public import LinuxSystem

/// An IOMMU group that user space holds: one opener at a time (EBUSY for the second).
public struct VFIOGroup: ~Copyable, Sendable {
  /// Where group `number` is.
  public static func path(_ number: Int) -> String { "/dev/vfio/\(number)" }

  public let descriptor: OwnedDescriptor
  private let path: String

  /// Opens the group and checks that it is viable.
  public static func open(_ path: String) throws(VFIOError) -> VFIOGroup {
    let group = VFIOGroup(
      owning: try vfioCall { () throws(SystemCallError) in
        try OwnedDescriptor.open(path, flags: O_RDWR)
      }, path: path)
    guard try group.isViable() else { throw .groupNotViable(path: path) }
    return group
  }

  /// Takes a group that somebody passed.
  public init(owning descriptor: consuming OwnedDescriptor, path: String) {
    self.descriptor = descriptor
    self.path = path
  }

  /// Whether every function of the group is free or bound to a driver that VFIO accepts.
  public func isViable() throws(VFIOError) -> Bool {
    var answer = AnswerBuffer(byteCount: 8)
    try answer.call(
      descriptor.rawValue, CLINUX_VFIO_GROUP_GET_STATUS, "ask for the state of \(path)")
    return answer.flags & UInt32(VFIO_GROUP_FLAGS_VIABLE) != 0
  }

  /// Joins `container`.
  public func join(_ container: borrowing VFIOContainer) throws(VFIOError) {
    var number = container.descriptor.rawValue
    // SAFETY: the call reads four bytes of a local of that size.
    let result = unsafe clinux_ioctl_pointer(
      descriptor.rawValue, CLINUX_VFIO_GROUP_SET_CONTAINER, &number)
    guard result == 0 else { throw .call(lastError("join \(path) to a VFIO container")) }
  }

  /// Opens the function at `address`, such as `0000:01:00.0`. The group must be in a container that
  /// is set up.
  public func device(_ address: String) throws(VFIOError) -> VFIODevice {
    // SAFETY: the string outlives the call, which only reads it.
    let number = unsafe address.withCString {
      unsafe clinux_ioctl_pointer(
        descriptor.rawValue, CLINUX_VFIO_GROUP_GET_DEVICE_FD, UnsafeMutableRawPointer(mutating: $0))
    }
    guard number >= 0 else { throw .call(lastError("open \(address) of \(path)")) }
    let owned = OwnedDescriptor(owning: number)
    try vfioCall { () throws(SystemCallError) in try owned.setCloseOnExec(true) }
    return try VFIODevice(owning: owned)
  }
}
