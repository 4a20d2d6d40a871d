// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import LabKit

/// What `dev build` can make, in the order in which one needs the other.
enum BuildTarget: String, CaseIterable, ExpressibleByArgument {
  case host, kernel, agent, labhost, disk, guest, images

  func build(in workspace: Workspace) throws {
    switch self {
    case .host: try SwiftBuild(workspace).host()
    case .agent: try SwiftBuild(workspace).labAgent()
    case .kernel: try KernelBuild(workspace).build()
    case .guest: try GuestBuild(workspace).build()
    case .labhost: try ImageBuild(workspace).build("labhost")
    case .images: try ImageBuild.domains.forEach(ImageBuild(workspace).build)
    case .disk: try DiskBuild(workspace).build()
    }
  }
}

struct BuildCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "build",
    abstract: "Make everything in out/: programs, kernel, guest parts, images, the lab's disk.",
    discussion: "What has not changed since the last time is left alone.")

  @Argument(help: "What to make: \(BuildTarget.allCases.map(\.rawValue).joined(separator: ", ")).")
  var targets: [BuildTarget] = []

  /// Makes everything.
  static func buildAll(_ workspace: Workspace) throws {
    Console.shared.headline("build")
    for target in BuildTarget.allCases { try target.build(in: workspace) }
  }

  func run() throws {
    let workspace = try Workspace()
    for target in targets.isEmpty ? BuildTarget.allCases : targets {
      try target.build(in: workspace)
    }
    Console.shared.headline("built")
  }
}
