// swift-tools-version: 6.2
import PackageDescription

let strict: [SwiftSetting] = [
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
]

/// The program that runs commands inside the lab host, and the protocol it speaks with `tools/dev`.
///
/// A package of its own, without dependencies: it is linked statically and so has its own flags.
let package = Package(
  name: "labagent",
  products: [
    .library(name: "LabProtocol", targets: ["LabProtocol"]),
    .executable(name: "labagent", targets: ["labagent"]),
  ],
  targets: [
    .target(name: "LabProtocol", swiftSettings: strict),
    .executableTarget(name: "labagent", dependencies: ["LabProtocol"], swiftSettings: strict),
  ]
)
