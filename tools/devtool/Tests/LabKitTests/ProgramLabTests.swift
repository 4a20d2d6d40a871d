// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

@testable import LabKit

@Suite struct ProgramLabTests {
  @Test func aPackageNameIsCheckedBeforeAnythingRuns() throws {
    let workspace = checkout()
    for name in ["", "-y", "A", "a b", "python3=3.11", "a/testing", "x;y"] {
      #expect(throws: Failure.self) { try RootBuild(workspace, packages: [name]) }
    }
    _ = try RootBuild(workspace, packages: ["g++", "libstdc++6", "python3.11-venv", "0ad"])
  }

  @Test func aRootIsTheSameForTheSamePackagesInAnyOrder() throws {
    let workspace = checkout()
    let one = try RootBuild(workspace, packages: ["git", "curl", "git"])
    let other = try RootBuild(workspace, packages: ["curl", "git"])
    let third = try RootBuild(workspace, packages: ["curl"])
    #expect(one.image == other.image)
    #expect(one.image != third.image)
  }

  @Test func whatAptDidNotFindIsNamed() {
    let log = """
      Reading package lists...
      E: Unable to locate package nosuch
      E: Package 'gone' has no installation candidate
      E: Unable to locate package nosuch
      """
    #expect(RootBuild.missingPackages(log) == ["gone", "nosuch"])
  }

  @Test func theManifestHasTheChosenMemoryAndTheShareOnlyIfThereIsOne() {
    var options = ProgramLab.Options()
    options.memoryMiB = 1234
    #expect(ProgramLab.manifest(options).contains("memory: 1234MiB"))
    #expect(!ProgramLab.manifest(options).contains("vos.share"))
    options.share = URL(fileURLWithPath: "/tmp")
    #expect(ProgramLab.manifest(options).contains("vos.share"))
  }

  @Test func aShareThatIsNoFolderIsRefused() throws {
    let workspace = checkout()
    for path in ["/nonexistent", "/etc/passwd"] {
      var options = ProgramLab.Options()
      options.share = URL(fileURLWithPath: path)
      #expect(throws: Failure.self) { try ProgramLab.check(workspace, options) }
    }
  }
}
