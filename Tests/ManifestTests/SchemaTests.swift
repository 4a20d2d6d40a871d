// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

@testable import Manifest

/// A part of the shipped schema.
private struct Part {
  let value: [String: Any]

  init() throws {
    let file = URL(fileURLWithPath: projectRoot + "/vfio-configs/schema.json")
    let parsed = try JSONSerialization.jsonObject(with: Data(contentsOf: file))
    value = try #require(parsed as? [String: Any])
  }

  private init(_ value: [String: Any]) { self.value = value }

  subscript(path: String...) -> Part {
    path.reduce(self) { Part($0.value[$1] as? [String: Any] ?? [:]) }
  }

  var keys: Set<String> { Set((value["properties"] as? [String: Any] ?? [:]).keys) }
  func number(_ key: String) -> Int? { (value[key] as? NSNumber)?.intValue }
}

@Suite struct SchemaTests {
  @Test func schemaAndParserKnowTheSameKeys() throws {
    let schema = try Part()
    #expect(schema.keys == Set(ManifestKeys.top))
    let definitions = schema["$defs"]
    #expect(definitions["domain"].keys == Set(ManifestKeys.domain))
    #expect(definitions["network"].keys == Set(ManifestKeys.network))
    #expect(definitions["storage"].keys == Set(ManifestKeys.storage))
    #expect(definitions["channel"].keys == Set(ManifestKeys.channel))
  }

  @Test func schemaAndParserHaveTheSameLimits() throws {
    let schema = try Part()
    #expect(schema["properties", "domains"].number("maxProperties") == ManifestLimits.domains)
    #expect(schema["properties", "channels"].number("maxProperties") == ManifestLimits.channels)
    let timeout = schema["properties", "boot-timeout"]
    #expect(timeout.number("maximum") == ManifestLimits.bootTimeoutSeconds.upperBound)
    let domain = schema["$defs", "domain", "properties"]
    #expect(domain["cpus"].number("maximum") == ManifestLimits.cpus.upperBound)
    #expect(domain["devices"].number("maxItems") == ManifestLimits.devicesPerDomain)
    #expect(domain["modules"].number("maxItems") == ManifestLimits.modulesPerDomain)
    #expect(domain["cmdline"].number("maxLength") == ManifestLimits.commandLineBytes)
    let channel = schema["$defs", "channel", "properties"]
    for (key, range, standard) in [
      ("slices", ManifestLimits.slices, ChannelGeometry().slices),
      ("slots", ManifestLimits.slots, ChannelGeometry().slots),
    ] {
      #expect(channel[key].number("minimum") == range.lowerBound)
      #expect(channel[key].number("maximum") == range.upperBound)
      #expect(channel[key].number("default") == standard)
    }
  }

  @Test func everyShippedManifestIsFine() throws {
    let directory = projectRoot + "/vfio-configs"
    let names = try FileManager.default.contentsOfDirectory(atPath: directory)
      .filter { $0.hasSuffix(".yaml") }
    #expect(names.contains("lab.yaml") && names.contains("workstation.yaml"))
    for name in names {
      // Their kernels are built or installed elsewhere.
      let manifest = try Manifest.load(path: directory + "/" + name, checkFiles: false)
      #expect(!manifest.domains.isEmpty)
    }
  }
}
