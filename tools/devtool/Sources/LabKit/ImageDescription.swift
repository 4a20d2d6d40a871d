// SPDX-License-Identifier: Apache-2.0
import Foundation

/// What goes into an initramfs, as `guest-kernels/linux/images/NAME.image` says it.
///
/// One statement a line, `#` starts a comment:
///
///     packages NAME…               Debian packages, with all they depend on
///     exclude PATH…                leave out of the packages' files
///     modules NAME…                kernel modules, with all they depend on, also listed in load
///                                  order in /etc/vos/modules
///     file SOURCE TARGET [MODE]    a file of the checkout
///     folder PATH…
///     link PATH TARGET             a symbolic link at PATH
///     busybox PATH                 links to PATH for its applets that nothing else provides
public struct ImageDescription: Equatable, Sendable {
  /// A file of the checkout with its place in the image.
  public struct File: Equatable, Sendable {
    public var source: String
    public var target: String
    public var permissions: UInt32
  }

  public var packages: [String] = []
  public var excluded: [String] = []
  public var modules: [String] = []
  public var files: [File] = []
  public var folders: [String] = []
  public var links: [String: String] = [:]
  public var busybox: String?

  public init(_ text: String, name: String) throws {
    for (index, line) in text.split(separator: "\n", omittingEmptySubsequences: false).enumerated()
    {
      let words = line.prefix { $0 != "#" }.split(separator: " ").map(String.init)
      guard let verb = words.first else { continue }
      guard take(verb, Array(words.dropFirst())) else {
        throw Failure("\(name):\(index + 1): cannot read \"\(line)\"")
      }
    }
  }

  /// Whether the statement was understood.
  private mutating func take(_ verb: String, _ words: [String]) -> Bool {
    switch (verb, words.count) {
    case ("packages", 1...): packages += words
    case ("exclude", 1...): excluded += words
    case ("modules", 1...): modules += words
    case ("folder", 1...): folders += words
    case ("link", 2): links[words[0]] = words[1]
    case ("busybox", 1): busybox = words[0]
    case ("file", 2...3):
      guard let mode = UInt32(words.count == 3 ? words[2] : "0644", radix: 8) else { return false }
      files.append(File(source: words[0], target: words[1], permissions: mode))
    default: return false
    }
    return true
  }
}
