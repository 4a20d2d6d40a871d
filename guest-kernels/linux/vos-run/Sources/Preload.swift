// SPDX-License-Identifier: Apache-2.0

/// The list of libraries that ld.so loads first (LD_PRELOAD).
struct Preload {
  /// In order; no empty ones.
  private(set) var libraries: [Word]

  /// - Parameter text: names with blanks or colons between, as ld.so takes them.
  init(_ text: Word) {
    libraries = text.split { $0 == UInt8(ascii: " ") || $0 == UInt8(ascii: ":") }.map(Array.init)
  }

  /// Takes out every library of this file name, wherever it lies.
  mutating func remove(named name: StaticString) {
    libraries.removeAll { path in
      let start = path.lastIndex(of: UInt8(ascii: "/")).map { $0 + 1 } ?? 0
      return Array(path[start...]).equals(name)
    }
  }

  mutating func prepend(_ library: Word) { libraries.insert(library, at: 0) }

  var text: Word {
    var text: Word = []
    for library in libraries {
      if !text.isEmpty { text.append(UInt8(ascii: ":")) }
      text += library
    }
    return text
  }
}
