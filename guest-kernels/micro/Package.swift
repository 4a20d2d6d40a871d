// swift-tools-version: 6.2
import PackageDescription

// Micro guests: PVH ELF kernels in Embedded Swift. Build them with ./build.
//
// Sources/CVosABI and Sources/Channel are links to the root package's folders: the guests are
// built from the very code that the host runs.

/// Guests run without an operating system and, in ring 0, without vector registers, which neither
/// interrupt handlers nor emulated supervisors need to know.
let machineFlags = [
  "-ffreestanding", "-fno-stack-protector", "-mno-red-zone", "-mgeneral-regs-only", "-fno-pic",
  "-mcmodel=small", "-fno-asynchronous-unwind-tables",
]

let embedded: [SwiftSetting] = [
  .enableExperimentalFeature("Embedded"),
  .enableUpcomingFeature("ExistentialAny"),
  .enableUpcomingFeature("InternalImportsByDefault"),
  .strictMemorySafety(),
  .treatAllWarnings(as: .error),
  .unsafeFlags(
    ["-wmo", "-Xfrontend", "-function-sections", "-Xcc", "-mno-red-zone"]
      + ["-mno-mmx", "-mno-sse", "-mno-sse2"].flatMap { ["-Xcc", $0] }),
]

let freestanding: [CSetting] = [.unsafeFlags(machineFlags)]

let linked: [LinkerSetting] = [
  .unsafeFlags([
    "-use-ld=lld", "-Xclang-linker", "-nostdlib", "-Xclang-linker", "-static",
    "-Xlinker", "-T\(Context.packageDirectory)/micro.ld", "-Xlinker", "--gc-sections",
    "-Xlinker", "--build-id=none", "-Xlinker", "-z", "-Xlinker", "max-page-size=4096",
  ])
]

func guest(_ name: String) -> Target {
  .executableTarget(
    name: name, dependencies: ["MicroRuntime"], swiftSettings: embedded, linkerSettings: linked)
}

let package = Package(
  name: "micro",
  targets: [
    .target(name: "CVosABI", cSettings: freestanding),
    .target(name: "Channel", dependencies: ["CVosABI"], swiftSettings: embedded),
    .target(name: "CMicro", cSettings: freestanding),
    .target(name: "MicroRuntime", dependencies: ["CMicro", "Channel"], swiftSettings: embedded),
    guest("probe"),
    guest("doorbell"),
    guest("calls-client"),
    guest("calls-service"),
    guest("copy-client"),
    guest("copy-service"),
    guest("waiting"),
  ]
)
