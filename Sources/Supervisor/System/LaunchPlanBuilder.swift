// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Channel
import LaunchPlan

/// Collects descriptors and the plan that names them by index.
struct LaunchPlanBuilder {
  /// In the order of the message's SCM_RIGHTS array.
  private(set) var descriptors: [Int32] = []

  /// Adds a descriptor, which the caller keeps open until the plan is sent.
  mutating func add(_ number: Int32) -> LaunchPlan.DescriptorIndex {
    descriptors.append(number)
    return descriptors.count - 1
  }

  /// A domain's end of a channel, with the doorbells of all three peers.
  mutating func port(
    _ port: SystemLayout.Port, _ channel: ChannelResources
  ) -> LaunchPlan.Ivshmem {
    let own = port.side.rawValue
    let others = [VOS_PEER_CLIENT, VOS_PEER_SERVICE, VOS_PEER_HOST].filter { $0 != own }
    return LaunchPlan.Ivshmem(
      slot: port.slot, region: add(channel.region.rawValue),
      regionBytes: UInt64(channel.plan.geometry.regionBytes), peer: UInt16(own),
      vectors: [add(channel.bell(own))],
      remotes: others.map { peer in
        LaunchPlan.Remote(peer: UInt16(peer), vectors: [add(channel.bell(peer))])
      },
      readOnly: channel.plan.readOnlyRanges(for: port.side).map {
        LaunchPlan.PageRange(offset: $0.lowerBound, byteCount: UInt64($0.count))
      })
  }
}
