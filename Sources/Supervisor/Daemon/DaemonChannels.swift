// SPDX-License-Identifier: Apache-2.0
import Channel
import Glibc

/// What is done for channels: a broken one is made new once both sides have let go of it.
extension Daemon {
  func look(at channel: ChannelResources, _ now: Seconds) {
    if channel.life.isSound {
      perform(channel.life.handle(.left(channel.isLeftByService), at: now), on: channel)
      if let side = channel.isDeclaredBrokenBy {
        perform(channel.life.handle(.declared(by: side), at: now), on: channel)
      }
      if channel.life.isSound { return }
    }
    let haveLeft = channel.holders.isEmpty
    perform(channel.life.handle(.looked(haveLeft: haveLeft), at: now), on: channel)
  }

  private func perform(_ actions: [ChannelLifeCycle.Action], on channel: ChannelResources) {
    for action in actions {
      switch action {
      case .announceFailure: announceFailure(of: channel)
      case .complain: complain(about: channel)
      case .renew: renew(channel)
      }
    }
  }

  /// "channel storage (primary to storage)".
  private func describe(_ channel: ChannelResources) -> String {
    "channel \(channel.plan.name) (\(channel.plan.client ?? "host") to \(channel.plan.service))"
  }

  private func announceFailure(of channel: ChannelResources) {
    guard case .ending(let ending) = channel.life.state else { return }
    log.error("\(describe(channel)): its \(ending.by) declared it broken")
    channel.announceFailure()
    // We are the client of a control channel: its calls end with its life.
    for domain in domains where domain.control.isOn(channel) {
      domain.control.failAll(errno: ECONNRESET)
    }
  }

  private func complain(about channel: ChannelResources) {
    let sides = channel.holders.map { "\($0)" }.joined(separator: " and ")
    let advice = "take the system down and up again"
    log.error("\(describe(channel)): its \(sides) will not let go of it: still broken; \(advice)")
  }

  private func renew(_ channel: ChannelResources) {
    do throws(GeometryError) {
      try channel.renew()
      log.notice("\(describe(channel)): made new, for the \(channel.life.renewals). time")
    } catch {
      // It was formatted with this very name and layout.
      log.error("\(describe(channel)): cannot be made new: \(error)")
    }
  }
}
