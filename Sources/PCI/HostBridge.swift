// SPDX-License-Identifier: Apache-2.0

/// The host bridge at 00:00.0: an identity and nothing else.
///
/// It is Red Hat's generic PCIe host bridge (1b36:0008), for which no guest has quirks: chipset
/// numbers of Intel would make Linux look for registers that are not there.
public final class HostBridge: PCIFunction {
  private var space = ConfigurationSpace(
    identity: PCIIdentity(vendor: 0x1B36, device: 0x0008, revision: 0, classCode: 0x06_0000))

  public init() {}

  public var bars: [BARDescription] { [] }
  public var decodedBARs: [DecodedBAR] { [] }

  public func readConfiguration(offset: Int, width: Int) -> UInt32 {
    space.read(offset, width: width)
  }

  public func writeConfiguration(offset: Int, width: Int, value: UInt32) {
    space.write(offset, width: width, value: value)
  }

  public func readBAR(_ bar: Int, offset: UInt64, width: Int) -> UInt64 {
    truncated(.max, width: width)
  }

  public func writeBAR(_ bar: Int, offset: UInt64, width: Int, value: UInt64) {}
}
