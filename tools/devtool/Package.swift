// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

/// The developer's one entry, started by `tools/dev`.
let package = Package(
  name: "devtool",
  dependencies: [
    .package(path: "../labagent"),
    .package(url: "https://github.com/apple/swift-argument-parser", from: "1.8.0"),
  ],
  targets: [
    .target(
      name: "LabKit", dependencies: [.product(name: "LabProtocol", package: "labagent")],
      swiftSettings: strict),
    .executableTarget(
      name: "devtool",
      dependencies: [
        "LabKit", .product(name: "ArgumentParser", package: "swift-argument-parser"),
      ],
      swiftSettings: strict),
    .testTarget(
      name: "LabKitTests",
      dependencies: ["LabKit", .product(name: "LabProtocol", package: "labagent")]),
  ]
)
