// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Foundation
import LabKit

struct BenchCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "bench", abstract: "Measure, and print a table.")

  enum Name: String, CaseIterable, ExpressibleByArgument {
    case memory
    case boot
  }

  @Argument(help: "What to measure: \(Name.allCases.map(\.rawValue).joined(separator: " or ")).")
  var name: Name
  @Flag(help: "Print one JSON object instead of the table.") var json = false
  @Flag(help: "Use what is in out/ as it is.") var noBuild = false

  func run() throws {
    throw Failure("bench \(name.rawValue) is not there yet")
  }
}
