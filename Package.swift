// swift-tools-version: 6.2
import PackageDescription

/// What every target is built with: unsafe constructs must be marked, and a warning is an error.
let strict: [SwiftSetting] = [
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

let systemPackage: Target.Dependency = .product(name: "SystemPackage", package: "swift-system")
let argumentParser: Target.Dependency = .product(
  name: "ArgumentParser", package: "swift-argument-parser")

/// The modules from the bottom up. A module imports only what stands above it in this list.
let libraries: [Target] = [
  // The contracts: one C header for the channel, one C target for ioctl numbers.
  .target(name: "CVosABI"),
  .target(name: "CLinux"),
  .systemLibrary(name: "CFDT", providers: [.apt(["libfdt-dev"])]),

  // Linux, one small wrapper per kernel object.
  .target(
    name: "LinuxSystem", dependencies: ["CLinux", systemPackage], swiftSettings: strict),
  .target(name: "KVM", dependencies: ["CLinux", "LinuxSystem"], swiftSettings: strict),

  // The channel, one implementation for the host, for Linux guests and for micro guests.
  .target(name: "Channel", dependencies: ["CVosABI"], swiftSettings: strict),

  // Devices know offsets and bytes; never addresses, descriptors, threads or KVM.
  .target(name: "DeviceModel", swiftSettings: strict),
  .target(name: "Devices", dependencies: ["DeviceModel"], swiftSettings: strict),
  .target(name: "PCI", dependencies: ["DeviceModel"], swiftSettings: strict),
  .target(name: "Ivshmem", dependencies: ["DeviceModel", "PCI"], swiftSettings: strict),

  // VFIO's kernel objects, and the PCI function that stands for an assigned device.
  .target(
    name: "VFIO", dependencies: ["CLinux", "DeviceModel", "LinuxSystem", "PCI"],
    swiftSettings: strict),

  // A domain's description of itself, and what boots it.
  .target(name: "DeviceTree", dependencies: ["CFDT"], swiftSettings: strict),
  .target(name: "Boot", dependencies: ["DeviceModel"], swiftSettings: strict),

  // The monitor.
  .target(name: "LaunchPlan", swiftSettings: strict),
  .target(
    name: "Machine",
    dependencies: [
      "Boot", "CLinux", "Devices", "DeviceModel", "Ivshmem", "KVM", "LaunchPlan", "LinuxSystem",
      "PCI", "VFIO",
    ], swiftSettings: strict),

  // Runs micro guests, for tests and benchmarks.
  .target(
    name: "MicroHost",
    dependencies: [
      "CLinux", "CVosABI", "Channel", "KVM", "LaunchPlan", "LinuxSystem", "Machine",
    ],
    swiftSettings: strict),

  // The host's side: devices, manifest, supervision.
  .target(
    name: "HostDevices", dependencies: ["LinuxSystem", systemPackage], swiftSettings: strict),
  .target(
    name: "Manifest", dependencies: [.product(name: "Yams", package: "Yams")],
    swiftSettings: strict),
  .target(
    name: "Supervisor",
    dependencies: [
      "CVosABI", "Channel", "DeviceTree", "HostDevices", "LaunchPlan", "LinuxSystem", "Manifest",
      "VFIO", .product(name: "Logging", package: "swift-log"),
    ], swiftSettings: strict),
]

let executables: [Target] = [
  .executableTarget(
    name: "vosvmm", dependencies: ["CLinux", "LaunchPlan", "LinuxSystem", "Machine"],
    swiftSettings: strict),
  .executableTarget(
    name: "vosd",
    dependencies: [
      "LinuxSystem", "Manifest", "Supervisor", argumentParser,
      .product(name: "Logging", package: "swift-log"),
    ],
    swiftSettings: strict),
  .executableTarget(
    name: "vosctl",
    dependencies: [
      "DeviceTree", "HostDevices", "LinuxSystem", "Manifest", "Supervisor", argumentParser,
    ], swiftSettings: strict),
  .executableTarget(
    name: "vosbench", dependencies: ["LinuxSystem", "MicroHost", argumentParser],
    swiftSettings: strict),
]

/// Stands in for vosvmm in tests of vosd and vosctl.
let fakeMonitor = Target.executableTarget(
  name: "vosfakevmm", dependencies: ["CVosABI", "Channel", "LaunchPlan", "LinuxSystem"],
  path: "Tests/FakeMonitor", swiftSettings: strict)

/// Binds itself as vosvmm does and then makes one call, for tests of the filter.
let filterProbe = Target.executableTarget(
  name: "vosfilterprobe", dependencies: ["CLinux", "LinuxSystem", "Machine"],
  path: "Tests/FilterProbe", swiftSettings: strict)

func tests(_ name: String, _ dependencies: Target.Dependency...) -> Target {
  .testTarget(
    name: name + "Tests", dependencies: [.target(name: name)] + dependencies,
    path: "Tests/" + name + "Tests", swiftSettings: [.enableUpcomingFeature("ExistentialAny")])
}

let package = Package(
  name: "vos",
  products: [
    .library(name: "CVosABI", targets: ["CVosABI"]),
    .library(name: "Channel", targets: ["Channel"]),
    .executable(name: "vosvmm", targets: ["vosvmm"]),
    .executable(name: "vosd", targets: ["vosd"]),
    .executable(name: "vosctl", targets: ["vosctl"]),
  ],
  dependencies: [
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-system", from: "1.8.0"),
    .package(url: "https://github.com/apple/swift-log", from: "1.16.0"),
    .package(url: "https://github.com/jpsim/Yams", from: "6.2.0"),
  ],
  targets: libraries + executables + [
    fakeMonitor,
    filterProbe,
    tests("LinuxSystem"),
    tests("KVM", "CLinux", "LinuxSystem"),
    tests("Channel", "CVosABI"),
    tests("Devices", "DeviceModel"),
    tests("PCI", "DeviceModel"),
    tests("Ivshmem", "DeviceModel", "PCI"),
    tests("DeviceTree"),
    tests("Boot", "DeviceModel"),
    tests("LaunchPlan"),
    tests(
      "Machine", "CLinux", "DeviceModel", "KVM", "LaunchPlan", "LinuxSystem", "vosfilterprobe",
      "vosvmm"),
    .testTarget(
      name: "MicroGuestTests", dependencies: ["Channel", "DeviceTree", "MicroHost"],
      swiftSettings: [.enableUpcomingFeature("ExistentialAny")]),
    tests("VFIO", "CLinux", "DeviceModel", "LinuxSystem", "PCI"),
    tests("HostDevices", "LinuxSystem", systemPackage),
    tests("Manifest"),
    tests(
      "Supervisor", "CVosABI", "Channel", "DeviceTree", "LinuxSystem", "Manifest", "vosctl", "vosd",
      "vosfakevmm"),
  ]
)
