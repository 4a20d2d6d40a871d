// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Builds the Swift programs of the host, of the guests and of the lab.
public struct SwiftBuild {
  /// For programs that run where there is no Swift, and no libc either.
  static let staticFlags = ["--static-swift-stdlib", "-Xswiftc", "-static-executable"]
  /// What make and SwiftPM leave among the sources.
  private static let products = [
    ".o", ".ko", ".mod", ".mod.c", ".so", ".cmd", "/modules.order", "/Module.symvers",
    "/Package.resolved",
  ]

  let workspace: Workspace

  public init(_ workspace: Workspace) { self.workspace = workspace }

  /// The programs of the root package: out/bin/{vosctl,vosd,vosvmm,vosbench}.
  public func host() throws {
    let sources = ["Package.swift", "Sources"].map(workspace.path)
    try incremental("host", sources, products: ["vosctl", "vosd", "vosvmm", "vosbench"].map(bin)) {
      log in
      try Console.shared.step("build vosctl, vosd and vosbench (release)") {
        try swift(
          ["--static-swift-stdlib"], products: ["vosctl", "vosd", "vosbench"],
          package: workspace.root,
          scratch: ".build-release", into: workspace.bin, log: log)
      }
      try Console.shared.step("build vosvmm (release, static)") {
        try swift(
          SwiftBuild.staticFlags, products: ["vosvmm"],
          package: workspace.root, scratch: ".build-static", into: workspace.bin, log: log)
      }
    }
  }

  /// The lab host's agent: out/lab/labagent.
  public func labAgent() throws {
    let package = workspace.path("tools/labagent")
    let target = workspace.out.appending(path: "lab")
    try incremental("labagent", [package], products: [target.appending(path: "labagent")]) { log in
      try Console.shared.step("build the lab's agent (static)") {
        try swift(
          SwiftBuild.staticFlags, products: ["labagent"],
          package: package, scratch: "tools/labagent/.build", into: target, log: log)
      }
    }
  }

  /// Runs `body` unless `products` were made from what `sources` are now.
  func incremental(
    _ name: String, _ sources: [URL], extra: String = "", products: [URL],
    _ body: (_ log: URL) throws -> Void
  ) throws {
    let inputs = fingerprint(sources, ignoring: SwiftBuild.products) + extra
    let stamp = try Stamp(workspace, name)
    if stamp.matches(inputs), products.allSatisfy(exists) { return }
    stamp.forget()
    let log = try workspace.log("build-\(name)")
    try remove(log)
    try body(log)
    try stamp.write(inputs)
  }

  /// `swift build` of `products`, copied into `folder`.
  func swift(
    _ flags: [String], products: [String], package: URL, scratch: String, into folder: URL,
    log: URL
  ) throws {
    let base = [
      "swift", "build", "-c", "release", "--package-path", package.path,
      "--scratch-path", workspace.path(scratch).path,
    ]
    for product in products {
      try run(base + flags + ["--product", product], log: log, append: true)
    }
    let path = try capture(base + flags + ["--show-bin-path"])
      .trimmingCharacters(in: .whitespacesAndNewlines)
    for product in products {
      let built = URL(fileURLWithPath: path).appending(path: product)
      try install(built, at: folder.appending(path: product))
    }
  }

  private func bin(_ name: String) -> URL { workspace.bin.appending(path: name) }
}
