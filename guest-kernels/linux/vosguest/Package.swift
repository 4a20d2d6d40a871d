// swift-tools-version: 6.2
import PackageDescription

/// What every target is built with: unsafe constructs must be marked, and a warning is an error.
let strict: [SwiftSetting] = [
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

// Channel, DeviceTree, CVosABI and CFDT are links to the root package's folders: a dependency on the package
// would fetch and build all that the host needs.
//
// One static executable without a run-time library around it:
//   swift build -c release --static-swift-stdlib -Xswiftc -static-executable
let package = Package(
  name: "vosguest",
  products: [.executable(name: "vosguest", targets: ["vosguest"])],
  targets: [
    .target(name: "CVosABI"),
    .target(name: "CGuest"),
    .systemLibrary(name: "CFDT", providers: [.apt(["libfdt-dev"])]),
    .target(name: "Channel", dependencies: ["CVosABI"], swiftSettings: strict),
    .target(name: "DeviceTree", dependencies: ["CFDT"], swiftSettings: strict),
    .target(
      name: "Guest", dependencies: ["CGuest", "CVosABI", "Channel", "DeviceTree"],
      swiftSettings: strict),
    .executableTarget(name: "vosguest", dependencies: ["Guest"], swiftSettings: strict),
    .testTarget(
      name: "GuestTests", dependencies: ["CGuest", "CVosABI", "Channel", "Guest"],
      swiftSettings: [.enableUpcomingFeature("ExistentialAny")]),
  ]
)
