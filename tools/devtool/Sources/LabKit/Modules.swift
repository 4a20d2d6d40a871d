// SPDX-License-Identifier: Apache-2.0
public import Foundation

/// A kernel's loadable modules and what each needs, as `depmod` wrote it down.
public struct Modules: Sendable {
  /// `lib/modules/VERSION` of the unpacked kernel.
  public let folder: URL
  /// Path below `folder` → paths that it needs.
  private var needs: [String: [String]] = [:]
  /// Module name → path below `folder`.
  private var paths: [String: String] = [:]
  private var builtIn: Set<String> = []

  /// Reads modules.dep: lines "PATH: PATH PATH …", the needed ones in the reverse order of loading.
  public init(folder: URL) throws {
    self.folder = folder
    let text = try String(contentsOf: folder.appending(path: "modules.dep"), encoding: .utf8)
    for line in text.split(separator: "\n") {
      let parts = line.split(separator: ":", maxSplits: 1)
      guard let path = parts.first.map(String.init) else { continue }
      paths[Modules.name(of: path)] = path
      needs[path] = parts.count < 2 ? [] : parts[1].split(separator: " ").map(String.init)
    }
    let inside = try String(contentsOf: folder.appending(path: "modules.builtin"), encoding: .utf8)
    builtIn = Set(inside.split(separator: "\n").map { Modules.name(of: String($0)) })
  }

  /// Paths below `folder` to load for `names`, each after what it needs.
  public func loadOrder(_ names: [String]) throws -> [String] {
    var order: [String] = []
    for name in names.map({ $0.replacing("-", with: "_") }) where !builtIn.contains(name) {
      guard let path = paths[name] else {
        throw Failure("the kernel has no module \(name) (looked in \(folder.path))")
      }
      for needed in (needs[path] ?? []).reversed() + [path] where !order.contains(needed) {
        order.append(needed)
      }
    }
    return order
  }

  /// The lines of modules.dep about `paths`.
  public func dependencies(of paths: [String]) -> String {
    paths.map { "\($0): \((needs[$0] ?? []).joined(separator: " "))\n" }.joined()
  }

  private static func name(of path: String) -> String {
    let file = path.split(separator: "/").last ?? ""
    return String(file.prefix { $0 != "." }).replacing("-", with: "_")
  }
}
