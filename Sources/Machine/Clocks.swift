// SPDX-License-Identifier: Apache-2.0
internal import DeviceModel
internal import Glibc

/// The host's clock.
final class HostClock: Clock, Sendable {
  var secondsSinceEpoch: Int64 {
    var now = timespec()
    // SAFETY: the call fills a local of its type.
    unsafe clock_gettime(CLOCK_REALTIME, &now)
    return Int64(now.tv_sec)
  }
}
