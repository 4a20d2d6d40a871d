// SPDX-License-Identifier: Apache-2.0
public import Foundation

/// What `tools/dev programs` shows to the primary at /share: sources, a script, static programs.
public struct ProgramsBuild {
  let workspace: Workspace
  private var sources: URL { workspace.path("tools/programs") }
  private static let randomBytes = 3_000_000

  public init(_ workspace: Workspace) { self.workspace = workspace }

  public var share: URL { workspace.out.appending(path: "programs") }

  /// Makes out/programs.
  public func build() throws {
    try workspace.makeFolder(share)
    for name in ["redirections.sh", "watched.sh", "nginx.conf"] {
      try install(sources.appending(path: name), at: share.appending(path: name))
    }
    let tree = share.appending(path: "sources")
    try remove(tree)
    try FileManager.default.copyItem(at: workspace.path("Sources"), to: tree)
    try writeRandomFile(share.appending(path: "random"), bytes: ProgramsBuild.randomBytes)
    let log = try workspace.log("programs")
    try Console.shared.step("build the static C program") {
      try run(
        [
          "gcc", "-static", "-O2", "-Wall", "-Wextra", "-Werror", "-o",
          share.appending(path: "static-c").path, sources.appending(path: "static.c").path,
        ], log: log)
    }
    try buildGo(log)
  }

  /// Where Debian's Go compiler lies: it is unpacked, not installed, and runs from there.
  public func goCompiler() throws -> URL {
    try ImageBuild(workspace).packageTree(["golang-1.19-go"], name: "go")
      .appending(path: "usr/lib/go-1.19")
  }

  private func buildGo(_ log: URL) throws {
    let root = try goCompiler()
    try Console.shared.step("build the static Go program") {
      try run(
        [
          root.appending(path: "bin/go").path, "build", "-o",
          share.appending(path: "static-go").path, sources.appending(path: "static.go").path,
        ],
        environment: [
          "GOROOT": root.path, "GOCACHE": workspace.cache.appending(path: "go-build").path,
          "GOPATH": workspace.cache.appending(path: "go-path").path, "CGO_ENABLED": "0",
          "GO111MODULE": "off", "GOFLAGS": "", "GOTOOLCHAIN": "local",
        ], log: log, append: true)
    }
  }
}
