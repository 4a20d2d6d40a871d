// SPDX-License-Identifier: Apache-2.0
import Testing

@testable import Manifest

@Suite struct GoodManifestTests {
  @Test func everythingIsRead() throws {
    let manifest = try Manifest.parse(
      goodManifest, file: "m.yaml", absolutePath: "/etc/vos/m.yaml", checkFiles: false)
    #expect(manifest.system == "lab")
    #expect(manifest.primary == "primary")
    #expect(manifest.domains.map(\.name) == ["primary", "network", "storage"])
    let primary = try #require(manifest.domain("primary"))
    #expect(primary.kernel == "/etc/vos/vmlinuz")
    #expect(primary.initrd == "/etc/vos/primary.cpio")
    #expect(primary.commandLine == "console=ttyS0 quiet")
    #expect(primary.memoryBytes == 512 << 20)
    #expect(primary.cpus == 2)
    let network = try #require(manifest.domain("network"))
    #expect(network.devices == ["0000:01:00.0"])
    #expect(network.modules == ["e1000e"])
    #expect(network.network?.address == "10.0.2.15/24")
    let storage = try #require(manifest.domain("storage"))
    #expect(storage.kernel == "/boot/vmlinuz")
    #expect(storage.devices == ["0000:00:05.0"])
    #expect(storage.storage?.mount == "/storage")
  }

  @Test func channelsAreDerivedFromServices() throws {
    let manifest = try Manifest.parse(
      goodManifest, file: "m.yaml", absolutePath: "/m.yaml", checkFiles: false)
    #expect(manifest.channels.map(\.name) == ["network", "storage"])
    #expect(manifest.channels.map(\.carries) == [.sockets, .files])
    #expect(manifest.channels.allSatisfy { $0.client == "primary" })
  }

  @Test func anExplicitChannelReplacesTheDerivedOne() throws {
    let text =
      goodManifest + "channels:\n  wire: {service: network, slices: 4, slots: 8, arena: 64KiB}\n"
    let manifest = try Manifest.parse(
      text, file: "m.yaml", absolutePath: "/m.yaml", checkFiles: false)
    #expect(manifest.channels.map(\.name) == ["wire", "storage"])
    #expect(
      manifest.channels.first?.geometry
        == ChannelGeometry(slices: 4, slots: 8, arenaBytes: 64 << 10))
  }

  @Test func anotherDomainCanBePrimary() {
    let text = changed("  primary:\n", to: "  desk:\n").replacing(
      "domains:", with: "primary: desk\ndomains:")
    #expect(complaints(text) == [])
  }
}

@Suite struct BadManifestTests {
  @Test(arguments: [
    (
      "memory: 512MiB", "memroy: 512MiB",
      "8:5: unknown key \"memroy\" in domain \"primary\"; did you mean \"memory\"?"
    ),
    (
      "cpus: 2", "colour: red",
      "9:5: unknown key \"colour\" in domain \"primary\"; expected one of kernel,"
    ),
    (
      "cpus: 2", "cpus: 65",
      "9:11: \"cpus\" in domain \"primary\" is \"65\"; expected a whole number from 1 to 64"
    ),
    ("cpus: 2", "cpus: 0", "expected a whole number from 1 to 64"),
    ("cpus: 2", "cpus: \"2\"", "expected a whole number"),
    ("cpus: 2", "cpus: 99999999999999999999", "expected a whole number"),
    ("cpus: 2", "hugepages: yes", "is \"yes\"; expected true or false"),
    ("memory: 512MiB", "memory: 512", "is \"512\"; expected a size with its unit, such as 512MiB"),
    ("memory: 512MiB", "memory: 9999999999TiB", "expected a size"),
    ("memory: 512MiB", "memory: 2TiB", "expected a size from 4MiB to 60GiB"),
    ("memory: 512MiB", "memory: 5000KiB", "a multiple of 2MiB"),
    ("memory: 512MiB", "memory: [1]", "is a list; expected a size"),
    ("    memory: 512MiB\n", "", "lacks \"memory\""),
    ("initrd: primary.cpio", "initrd: {a: b}", "is a mapping; expected a path"),
    (
      "    kernel: vmlinuz\n    initrd", "    initrd",
      "domain \"primary\" lacks \"kernel\"; expected the path"
    ),
    ("[0000:01:00.0]", "[0000:01:00.8]", "expected a PCI address such as 0000:01:00.0"),
    ("[0000:01:00.0]", "0000:01:00.0", "expected a list of a PCI address"),
    ("[0000:01:00.0]", "[01:00.0, 0000:01:00.0]", "lists device 0000:01:00.0 twice"),
    ("00:05.0", "0000:01:00.0", "device 0000:01:00.0 belongs to domain \"network\" already"),
    ("10.0.2.15/24", "10.0.2.15", "expected an IPv4 address with prefix length"),
    ("10.0.2.15/24", "10.0.2.15/33", "expected an IPv4 address with prefix length"),
    ("10.0.2.15/24", "10.0.2.256/24", "expected an IPv4 address with prefix length"),
    ("gateway: 10.0.2.2", "gateway: 10.0.3.2", "gateway 10.0.3.2 is outside 10.0.2.15/24"),
    ("serves: sockets", "serves: packets", "is \"packets\"; expected sockets or files"),
    ("serves: files", "modules: []", "has \"storage\" but does not serve files"),
    ("vos: 1", "vos: 2", "1:6: \"vos\" in the manifest is \"2\"; expected 1"),
    ("vos: 1\n", "", "lacks \"vos\""),
    ("system: lab", "system: ../etc", "expected a name of small letters"),
    ("system: lab", "system:", "is empty"),
    ("  network:\n    kernel", "  Network:\n    kernel", "cannot be a name in domains"),
    ("  storage:\n    kernel", "  network:\n    kernel", "duplicate key \"network\""),
    ("  primary:\n", "  first:\n", "no domain is called \"primary\""),
    ("vos: 1", "vos: 1\nprimary: nobody", "expected one of the domains primary, network, storage"),
    ("quiet", "\"a\\nb\"", "expected one line"),
    ("vos: 1", "vos: [1", "not YAML"),
    ("vmlinuz", "&x vmlinuz", "found an anchor or alias"),
  ])
  func isRefusedWithItsPlace(_ old: String, _ new: String, _ expected: String) {
    let found = complaints(changed(old, to: new).replacing("console=ttyS0 \"", with: "\""))
    #expect(found.contains { $0.contains(expected) }, "\(found)")
    #expect(found.allSatisfy { $0.hasPrefix("m.yaml:") })
  }

  @Test func allErrorsAreReportedInFileOrder() {
    let text = changed("512MiB", to: "lots").replacing("serves: sockets", with: "serves: x")
      .replacing("vos: 1", with: "vos: 7")
    let found = complaints(text)
    #expect(found.count >= 3)
    let lines = found.compactMap { Int($0.split(separator: ":")[1]) }
    #expect(lines == lines.sorted())
  }

  @Test func channelReferencesAreChecked() {
    let head = goodManifest + "channels:\n"
    #expect(
      complaints(head + "  a: {service: nowhere}\n").contains {
        $0.contains("expected one of the domains")
      })
    #expect(
      complaints(head + "  a: {service: primary}\n").contains { $0.contains("serves nothing") })
    #expect(
      complaints(head + "  a: {service: network, client: network}\n").contains {
        $0.contains("with itself")
      })
    #expect(
      complaints(head + "  a: {service: network, carries: files}\n").contains {
        $0.contains("expected sockets")
      })
    #expect(
      complaints(head + "  control: {service: network}\n").contains {
        $0.contains("choose another")
      })
    #expect(
      complaints(head + "  a: {client: primary}\n").contains { $0.contains("lacks \"service\"") })
  }

  @Test func tooManyDomainsAreRefused() {
    let domains = (0..<17).map { "  d\($0): {kernel: k, memory: 64MiB}\n" }.joined()
    let found = complaints("vos: 1\nsystem: s\nprimary: d0\ndomains:\n" + domains)
    #expect(found.contains { $0.contains("found 17 domains; expected 1 to 16") })
  }

  @Test func hostileTextsEndInAMessage() {
    #expect(complaints("").count == 1)
    #expect(complaints("# nothing\n").count == 1)
    #expect(complaints(String(repeating: "[", count: 60_000)).count == 1)
    #expect(complaints(String(repeating: "- ", count: 30_000)).count == 1)
    #expect(complaints(String(repeating: "{a: ", count: 16_000)).count == 1)
    #expect(
      complaints(String(repeating: "x", count: 70_000)).first?.contains("expected at most") == true)
    #expect(complaints("- 1\n- 2\n").first?.contains("is a list; expected a mapping") == true)
    #expect(complaints("? [a, b]\n: c\n").contains { $0.contains("expected a plain word") })
  }

  @Test func missingManifestsAreNamed() {
    #expect(throws: ManifestError.self) { try Manifest.load(path: "/nonexistent/m.yaml") }
    #expect(throws: ManifestError.self) { try Manifest.load(path: "/") }
  }
}

@Suite struct ScalarTests {
  @Test(arguments: [("512MiB", 512 << 20), ("1KiB", 1024), ("2GiB", 2 << 30), ("0MiB", 0)])
  func sizes(_ text: String, _ count: UInt64) {
    #expect(parseByteCount(text) == count)
  }

  @Test(arguments: [
    "", "MiB", "512", "512M", "512MB", "-1MiB", "1.5GiB", "0x10MiB", "9999999999TiB", "١MiB",
  ])
  func notSizes(_ text: String) {
    #expect(parseByteCount(text) == nil)
  }

  @Test(arguments: [("01:00.0", "0000:01:00.0"), ("0000:AB:1f.7", "0000:ab:1f.7")])
  func addresses(_ text: String, _ full: String) {
    #expect(canonicalPCIAddress(text) == full)
  }

  @Test(arguments: [
    "", "1:00.0", "0000:01:20.0", "0000:01:00", "0000:01:00.8", "a:b:c:d", "0000:01:00.0 ",
  ])
  func notAddresses(_ text: String) {
    #expect(canonicalPCIAddress(text) == nil)
  }

  @Test func sizesAreFormattedAsTheyAreWritten() {
    #expect(formatByteCount(512 << 20) == "512MiB")
    #expect(formatByteCount(1 << 40) == "1TiB")
    #expect(formatByteCount(1500) == "1500 bytes")
  }
}

@Suite struct ExternalDomainTests {
  private let text = """
    vos: 1
    system: lab
    domains:
      primary: {monitor: external, modules: [fuse]}
      storage:
        monitor: vosvmm
        kernel: k
        memory: 64MiB
        serves: files
        storage: {source: /dev/sda}
    """

  @Test func aDomainMayBeRunBySomebodyElse() throws {
    let manifest = try Manifest.parse(text, file: "m", absolutePath: "/m", checkFiles: false)
    #expect(manifest.domains.map(\.monitor) == [.external, .vosvmm])
    #expect(manifest.domain("primary")?.modules == ["fuse"])
    #expect(manifest.domain("primary")?.memoryBytes == 0)
    #expect(manifest.channels.map(\.client) == ["primary"])
  }

  @Test(arguments: [
    "kernel: k", "initrd: i", "cmdline: quiet", "memory: 64MiB", "cpus: 2", "hugepages: true",
    "devices: [\"01:00.0\"]",
  ])
  func itsMachineIsNotOurs(_ setting: String) {
    let key = setting.prefix { $0 != ":" }
    let found = complaints(text.replacing("modules: [fuse]", with: setting))
    #expect(found.count == 1)
    #expect(
      found.first?.contains("domain \"primary\" has \"\(key)\" and an external monitor") == true)
  }

  @Test func anotherMonitorIsRefused() {
    let found = complaints(text.replacing("external", with: "qemu"))
    #expect(found.contains { $0.contains("expected vosvmm or external") })
  }
}
