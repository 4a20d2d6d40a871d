// SPDX-License-Identifier: Apache-2.0
import Foundation

/// Builds what runs inside Linux guests: out/guest/{vosguest,libvos.so,vos.ko}.
public struct GuestBuild {
  let workspace: Workspace

  public init(_ workspace: Workspace) { self.workspace = workspace }

  public func build() throws {
    throw Failure("guest-kernels/linux: nothing to build yet")
  }
}
