// SPDX-License-Identifier: Apache-2.0
import Foundation
@testable import LabKit

/// The checkout that these tests are of.
func checkout() -> Workspace {
  let tests = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
    .deletingLastPathComponent()
  return Workspace(root: tests.appending(path: "../../..").standardizedFileURL)
}
