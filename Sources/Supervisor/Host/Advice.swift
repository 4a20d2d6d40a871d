// SPDX-License-Identifier: Apache-2.0
public import LinuxSystem
import SystemPackage

extension SystemCallError {
  /// What helps a user of vosctl, beginning with a verb.
  var advice: String {
    switch errno {
    case .permissionDenied, .notPermitted: "run as root, or check who may use it"
    case .tooManyOpenFiles, .tooManyOpenFilesInSystem: "raise the limit of open files (ulimit -n)"
    case .noMemory, .resourceTemporarilyUnavailable:
      "free memory, or give the domains less of it"
    case .noSpace: "make room in that file system"
    case .readOnlyFileSystem: "choose another directory with --runtime-directory"
    case .noSuchFileOrDirectory, .notDirectory: "check the path"
    case .fileNameTooLong: "choose a shorter path with --runtime-directory"
    case .execFormatError: "build or install it again"
    default: "see \"dmesg\" for the kernel's reason, and try again"
    }
  }

  /// What failed and what to do, as one sentence.
  public var sentence: String { "\(self); \(advice)" }
}
