// SPDX-License-Identifier: Apache-2.0
import Yams

/// Reads explicit channels and derives one for each service that has none.
struct ChannelReader {
  let reader: NodeReader
  let domains: [ReadDomain]
  let primary: String

  func read(_ top: Fields) -> [ChannelSettings] {
    var channels = explicit(top)
    for entry in domains {
      guard let kind = entry.domain.serves else { continue }
      if entry.domain.name == primary {
        reader.report(
          entry.fields["serves"] ?? entry.key,
          "the primary domain \"\(primary)\" cannot serve \(kind.rawValue); let another domain")
        continue
      }
      let name = entry.domain.name
      if channels.contains(where: { $0.service == name }) { continue }
      if channels.contains(where: { $0.name == name }) {
        reader.report(
          entry.key, "channel \"\(name)\" exists but is not served by \"\(name)\"; rename it")
        continue
      }
      channels.append(
        ChannelSettings(
          name: name, client: primary, service: name, carries: kind,
          geometry: ChannelGeometry()))
    }
    return channels
  }

  private func explicit(_ top: Fields) -> [ChannelSettings] {
    guard let node = top["channels"],
      let entries = reader.named(
        node, of: "channels", example: "network: {client: primary, service: network}")
    else { return [] }
    if entries.count > ManifestLimits.channels {
      reader.report(
        node, "found \(entries.count) channels; expected at most \(ManifestLimits.channels)")
    }
    return entries.prefix(ManifestLimits.channels).compactMap {
      channel(name: $0.name, key: $0.key, value: $0.value)
    }
  }

  private func channel(name: String, key: Node, value: Node) -> ChannelSettings? {
    let subject = "channel \"\(name)\""
    if name == "control" {
      reader.report(key, "\"control\" is the name of every domain's own channel; choose another")
    }
    guard let fields = reader.fields(value, of: subject, keys: ManifestKeys.channel) else {
      return nil
    }
    let client = endpoint("client", fields) ?? primary
    guard let serviceNode = fields.required("service", expected: "the domain that serves it"),
      let service = endpoint("service", fields)
    else { return nil }
    if service == client {
      reader.report(serviceNode, "\(subject) joins \"\(client)\" with itself; expected two domains")
    }
    guard let carries = carries(fields, service: service, serviceNode) else { return nil }
    return ChannelSettings(
      name: name, client: client, service: service, carries: carries, geometry: geometry(fields))
  }

  private func endpoint(_ key: String, _ fields: Fields) -> String? {
    let names = domains.map(\.domain.name)
    let expected = "one of the domains \(names.joined(separator: ", "))"
    return fields.text(key, expected: expected) { names.contains($0) }
  }

  private func carries(_ fields: Fields, service: String, _ node: Node) -> ServiceKind? {
    let served = domains.first { $0.domain.name == service }?.domain.serves
    guard let served else {
      reader.report(
        node, "domain \"\(service)\" serves nothing; add \"serves: sockets\" or \"serves: files\"")
      return nil
    }
    _ = fields.text(
      "carries", expected: "\(served.rawValue), which is what domain \"\(service)\" serves"
    ) { $0 == served.rawValue }
    return served
  }

  private func geometry(_ fields: Fields) -> ChannelGeometry {
    let standard = ChannelGeometry()
    return ChannelGeometry(
      slices: fields.integer("slices", in: ManifestLimits.slices) ?? standard.slices,
      slots: fields.integer("slots", in: ManifestLimits.slots) ?? standard.slots,
      arenaBytes: fields.byteCount("arena", in: ManifestLimits.arenaBytes, granule: 4096)
        .map { Int($0) } ?? standard.arenaBytes)
  }
}
