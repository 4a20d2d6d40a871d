// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Channel

/// What stands before and after a `ServiceLoop`: the life that the host gives to this side of the
/// channel. When it ends, the process ends with all that it holds; the next one begins another.
enum ServiceLife {
  /// Most milliseconds between two looks.
  private static let lookMilliseconds: Int32 = 100

  /// Waits for a life, and says meanwhile that nothing of an earlier one is held.
  ///
  /// - Returns: false if the device is gone.
  static func awaitBegin(_ device: any ServiceDevice) -> Bool {
    let region = device.region
    var told: UInt32?
    while region.life(of: .service) != .alive {
      region.leave(.service)
      let generation = region.generation(of: .service)
      if told != generation { device.ring(VOS_PEER_HOST) }
      told = generation
      guard device.wait(milliseconds: lookMilliseconds) else { return false }
    }
    return true
  }

  /// Says that the channel is broken until the host has ended this life of it: who came back before
  /// would serve a client that does not listen any more.
  static func declareBroken(_ device: any ServiceDevice, _ watch: ChannelWatch) {
    var watch = watch
    var told = false
    while watch.look(milliseconds: System.milliseconds()) != .ended {
      watch.declareBroken()
      if !told {
        device.ring(VOS_PEER_CLIENT)
        device.ring(VOS_PEER_HOST)
      }
      told = true
      guard device.wait(milliseconds: lookMilliseconds) else { return }
    }
  }
}
