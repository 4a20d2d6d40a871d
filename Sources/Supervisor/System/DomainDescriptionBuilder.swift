// SPDX-License-Identifier: Apache-2.0
public import DeviceTree
import Manifest

extension SystemLayout {
  /// Where a storage domain mounts what it serves.
  static let exportPath = "/export"

  /// What domain `name` gets to know about itself in its life `generation`; `nil` if there is no
  /// such domain.
  public func description(of name: String, generation: UInt32) -> DomainDescription? {
    guard let plan = domains.first(where: { $0.domain.name == name }) else { return nil }
    let domain = plan.domain
    return DomainDescription(
      domain: domain.name, system: manifest.system, generation: generation,
      processorCount: UInt32(domain.cpus), memoryByteCount: domain.memoryBytes,
      roles: roles(of: plan), channels: plan.ports.map(describe),
      network: domain.network.map {
        DomainDescription.Network(
          address: $0.address, gateway: $0.gateway, nameserver: $0.nameserver)
      },
      storage: domain.storage.map {
        DomainDescription.Storage(source: $0.source, type: $0.type, options: $0.options)
      }, modules: domain.modules)
  }

  private func roles(of plan: DomainPlan) -> [DomainDescription.Role] {
    var roles: [DomainDescription.Role] = plan.isPrimary ? [.primary] : []
    switch plan.domain.serves {
    case .sockets: roles.append(.network)
    case .files: roles.append(.storage)
    case nil: break
    }
    return roles
  }

  private func describe(_ port: Port) -> DomainDescription.Channel {
    let channel = channels[port.channel]
    let settings = manifest.channels.first {
      $0.name == channel.name && $0.service == channel.service
    }
    let carries: DomainDescription.Channel.Carries =
      switch settings?.carries {
      case nil: .control
      case .sockets: .sockets
      case .files: .files
      }
    return DomainDescription.Channel(
      number: channel.number, name: channel.name, role: port.side == .client ? .client : .service,
      carries: carries, pciSlot: UInt32(port.slot),
      peer: port.side == .client ? channel.service : channel.client,
      mount: port.side == .client ? channel.mount : nil,
      export: port.side == .service && carries == .files ? Self.exportPath : nil)
  }
}
