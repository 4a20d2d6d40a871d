// swift-tools-version: 6.2
import PackageDescription

// Coverage, memory checks, and access to what is internal. The flags are here, so that
// `swift build -c release` is all there is to it.
let checks = "fuzzer,address"
let swift: [SwiftSetting] = [
  .unsafeFlags(["-sanitize=\(checks)", "-enable-testing"]),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]
let c: [CSetting] = [.unsafeFlags(["-fsanitize=fuzzer-no-link,address"])]

/// The code under test: links to the folders where it lives, built here with the checks.
let subjects: [Target] = [
  .target(name: "CVosABI"),
  .target(name: "Channel", dependencies: ["CVosABI"], swiftSettings: swift),
  .target(name: "DeviceModel", swiftSettings: swift),
  .target(name: "Devices", dependencies: ["DeviceModel"], swiftSettings: swift),
  .target(name: "PCI", dependencies: ["DeviceModel"], swiftSettings: swift),
  .target(name: "Ivshmem", dependencies: ["DeviceModel", "PCI"], swiftSettings: swift),
  .target(name: "CLinux"),
  .target(
    name: "LinuxSystem",
    dependencies: ["CLinux", .product(name: "SystemPackage", package: "swift-system")],
    swiftSettings: swift),
  .target(
    name: "VFIO", dependencies: ["CLinux", "DeviceModel", "LinuxSystem", "PCI"],
    swiftSettings: swift),
  .target(name: "Boot", dependencies: ["DeviceModel"], swiftSettings: swift),
  .systemLibrary(name: "CFDT", providers: [.apt(["libfdt-dev"])]),
  .target(name: "DeviceTree", dependencies: ["CFDT"], swiftSettings: swift),
  .target(
    name: "Manifest", dependencies: [.product(name: "Yams", package: "Yams")],
    swiftSettings: swift),
  .target(
    name: "Guest", dependencies: ["CGuest", "CVosABI", "Channel", "DeviceTree"],
    swiftSettings: swift),
]

/// libvos in ordinary Swift, with a header of its own for what it shares and a kernel that is none.
/// Each of its accesses to memory is a call of Sources/CLibvos/access.c, which has the services act
/// first.
let accesses = [
  "-asan-instrumentation-with-call-threshold=0",
  "-asan-memory-access-callback-prefix=libvos_fuzz_",
]
let libvos: [Target] = [
  .target(
    name: "CLibvos", dependencies: ["CFuzz"],
    cSettings: c + [.unsafeFlags(["-Wno-nullability-completeness"])]),
  .target(
    name: "Libvos", dependencies: ["CLibvos"],
    swiftSettings: swift + [
      .unsafeFlags(
        ["-Xcc", "-Wno-nullability-completeness"] + accesses.flatMap { ["-Xllvm", $0] })
    ]),
]

/// What the fuzzers share, and what stands in for a kernel.
let help: [Target] = [
  .target(name: "CFuzz", cSettings: c),
  // The kernel module's own files for superblocks, slices, calls and events, and a kernel that is none.
  .target(
    name: "CModule", dependencies: ["CFuzz"],
    cSettings: c + [.headerSearchPath("."), .unsafeFlags(["-Wno-unused-function"])]),
  .target(name: "FuzzKit", dependencies: ["CFuzz"], swiftSettings: swift),
  .target(
    name: "ChannelKit", dependencies: ["CFuzz", "CVosABI", "Channel", "FuzzKit"],
    swiftSettings: swift),
  .target(
    name: "ServiceKit", dependencies: ["CFuzz", "CGuest", "Channel", "ChannelKit", "FuzzKit"],
    swiftSettings: swift),
  .target(name: "CGuest", dependencies: ["CFuzz"], cSettings: c),
]

/// libvos's functions have libc's names; here they are for the fuzzer's own calls alone.
let names = ["-Xlinker", "--version-script=\(Context.packageDirectory)/Sources/fuzzers/libvos.map"]

/// One program a fuzzer; its seeds are in `corpus/NAME`.
func fuzzer(
  _ name: String, _ dependencies: Target.Dependency..., linked: [String] = []
) -> Target {
  .executableTarget(
    name: "fuzz-" + name, dependencies: ["CFuzz", "FuzzKit"] + dependencies,
    path: "Sources/fuzzers/" + name,
    swiftSettings: swift,
    linkerSettings: [.unsafeFlags(["-sanitize=\(checks)", "-use-ld=lld"] + linked)])
}

let package = Package(
  name: "fuzz",
  dependencies: [
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
  ],
  targets: subjects + libvos + help + [
    fuzzer("superblock", "CModule", "CVosABI", "Channel"),
    fuzzer("module", "CModule", "CVosABI", "Channel", "ChannelKit"),
    fuzzer("slots", "CVosABI", "Channel", "ChannelKit"),
    fuzzer("replies", "CVosABI", "Channel", "ChannelKit"),
    fuzzer("sockets", "CGuest", "CVosABI", "Channel", "ChannelKit", "ServiceKit", "Guest"),
    fuzzer("files", "CGuest", "CVosABI", "Channel", "ChannelKit", "ServiceKit", "Guest"),
    fuzzer("forwarder", "CGuest", "CVosABI", "Channel", "ChannelKit", "Guest"),
    fuzzer("agent", "CGuest", "CVosABI", "Channel", "ChannelKit", "ServiceKit", "Guest"),
    fuzzer("libvos", "CLibvos", "Libvos", linked: names),
    fuzzer("bus", "DeviceModel", "Ivshmem", "PCI"),
    fuzzer("assigned", "DeviceModel", "PCI", "VFIO"),
    fuzzer("platform", "DeviceModel", "Devices"),
    fuzzer("kernels", "Boot", "DeviceModel"),
    fuzzer("initrds", "Manifest"),
    fuzzer("manifests", "Manifest"),
  ]
)
