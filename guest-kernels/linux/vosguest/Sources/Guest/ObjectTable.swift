// SPDX-License-Identifier: Apache-2.0

/// Objects by number. A number that was let go of is not given out again soon: it holds a
/// generation, so that a stale one finds nothing.
struct ObjectTable<Object> {
  private struct Entry {
    var generation: UInt32
    var object: Object?
  }

  private var entries: [Entry] = []
  private var free: [Int] = []
  private let limit: Int
  private var firstGeneration: UInt32

  /// 16 bits of index, 15 of generation: a number fits the result of an ioctl.
  private static var indexBits: UInt32 { 16 }
  private static var generationMask: UInt32 { 0x7fff }

  /// - Parameters:
  ///   - limit: most objects at a time, at most 65535.
  ///   - generation: where generations start; random, so that a new service's numbers differ.
  init(limit: Int, generation: UInt32) {
    self.limit = min(limit, 65535)
    firstGeneration = generation & Self.generationMask
  }

  var count: Int { entries.count - free.count }

  /// Adds an object; `nil` if there are too many.
  mutating func insert(_ object: Object) -> UInt64? {
    if let index = free.popLast() {
      entries[index].object = object
      return number(index)
    }
    guard entries.count < limit else { return nil }
    entries.append(Entry(generation: firstGeneration, object: object))
    return number(entries.count - 1)
  }

  /// The object with this number, if it exists.
  subscript(number: UInt64) -> Object? {
    guard let index = index(number) else { return nil }
    return entries[index].object
  }

  /// Takes an object out.
  mutating func remove(_ number: UInt64) -> Object? {
    guard let index = index(number) else { return nil }
    let object = entries[index].object
    entries[index].object = nil
    entries[index].generation = (entries[index].generation &+ 1) & Self.generationMask
    free.append(index)
    return object
  }

  /// Takes all objects out.
  mutating func removeAll() -> [Object] {
    numbers.compactMap { remove($0) }
  }

  /// The numbers of all objects.
  var numbers: [UInt64] {
    entries.indices.filter { entries[$0].object != nil }.map { number($0) }
  }

  private func number(_ index: Int) -> UInt64 {
    UInt64(entries[index].generation << Self.indexBits | UInt32(index))
  }

  private func index(_ number: UInt64) -> Int? {
    let index = Int(number & 0xffff)
    guard number <= UInt64(Int32.max), index < entries.count, entries[index].object != nil,
      UInt64(entries[index].generation) == number >> UInt64(Self.indexBits)
    else { return nil }
    return index
  }
}
