// SPDX-License-Identifier: Apache-2.0
import DeviceModel

/// The MSI-X capability with its table and pending-bit array (PCI Local Bus 3.0, 6.8.2).
///
/// Threats: the guest writes table and control in any order and width. Only aligned accesses of 4
/// or 8 bytes have an effect; indices are bounded by the table's size; a vector without enable, or
/// masked, never reaches the sink.
public struct MSIX: Sendable {
  /// Where table and pending bits lie.
  public struct Layout: Equatable, Sendable {
    public var tableBAR: Int
    public var tableOffset: UInt32
    public var pendingBAR: Int
    public var pendingOffset: UInt32

    public init(tableBAR: Int, tableOffset: UInt32, pendingBAR: Int, pendingOffset: UInt32) {
      self.tableBAR = tableBAR
      self.tableOffset = tableOffset
      self.pendingBAR = pendingBAR
      self.pendingOffset = pendingOffset
    }
  }

  /// Offset of the capability in configuration space.
  public let offset: Int
  /// 1–2048.
  public let vectorCount: Int
  public let layout: Layout
  /// The table as 32-bit words: address low, address high, data, control for each vector.
  private var table: [UInt32]
  private var states: VectorStates

  private static let controlOffset = 2
  private static let enableBit: UInt32 = 1 << 15
  private static let functionMaskBit: UInt32 = 1 << 14
  private static let wordsPerEntry = 4
  private static let entryByteCount = 16
  private static let controlWord = 3
  private static let maskBit: UInt32 = 1
  /// Bytes of the capability.
  public static let byteCount = 12
  /// Vectors a table can have.
  public static let maximumVectorCount = 2048

  /// Adds the capability to `space`.
  public init(
    addingTo space: inout ConfigurationSpace, vectorCount: Int, layout: Layout
  ) throws(PCIError) {
    guard (1...Self.maximumVectorCount).contains(vectorCount) else {
      throw PCIError.vectorCount(vectorCount)
    }
    var body = [UInt8](repeating: 0, count: Self.byteCount - 2)
    func put(_ value: UInt32, at index: Int, width: Int) {
      for byte in 0..<width { body[index + byte] = UInt8(truncatingIfNeeded: value >> (8 * byte)) }
    }
    put(UInt32(vectorCount - 1), at: 0, width: 2)
    put(layout.tableOffset & ~7 | UInt32(layout.tableBAR & 7), at: 2, width: 4)
    put(layout.pendingOffset & ~7 | UInt32(layout.pendingBAR & 7), at: 6, width: 4)
    let offset = try space.addCapability(PCICapability.msix, body: body)
    self.init(replacing: offset, in: &space, vectorCount: vectorCount, layout: layout)
  }

  /// Takes over a capability that is already linked at `offset`.
  ///
  /// - Parameter vectorCount: 1–2048; the caller has checked it.
  public init(
    replacing offset: Int, in space: inout ConfigurationSpace, vectorCount: Int, layout: Layout
  ) {
    self.offset = offset
    self.vectorCount = vectorCount
    self.layout = layout
    table = [UInt32](repeating: 0, count: vectorCount * Self.wordsPerEntry)
    states = VectorStates(count: vectorCount)
    for vector in 0..<vectorCount {
      table[vector * Self.wordsPerEntry + Self.controlWord] = Self.maskBit
    }
    space.set(offset + Self.controlOffset, width: 2, to: UInt32(vectorCount - 1))
    space.allow(offset + Self.controlOffset, width: 2, bits: Self.enableBit | Self.functionMaskBit)
  }

  // MARK: Configuration space

  /// Whether a configuration access touches the capability.
  public func covers(_ access: Int, width: Int) -> Bool {
    access < offset + Self.byteCount && access + width > offset
  }

  /// Whether the guest enabled MSI-X.
  public func isEnabled(in space: ConfigurationSpace) -> Bool {
    space.read(offset + Self.controlOffset, width: 2) & Self.enableBit != 0
  }

  /// Looks at the control register after a guest's write.
  public mutating func refresh(_ space: ConfigurationSpace) -> [VectorChange] {
    if !isEnabled(in: space) { states.clearPending() }
    return (0..<vectorCount).compactMap { vector in
      states.update(vector, to: message(vector, in: space))
    }
  }

  /// The device has an interrupt for `vector`: whether to raise it now. If the vector is masked
  /// the pending bit is set instead.
  public mutating func signal(_ vector: Int, in space: ConfigurationSpace) -> Bool {
    states.signal(vector, enabled: isEnabled(in: space))
  }

  private func message(_ vector: Int, in space: ConfigurationSpace) -> InterruptMessage? {
    let control = space.read(offset + Self.controlOffset, width: 2)
    guard control & (Self.enableBit | Self.functionMaskBit) == Self.enableBit else { return nil }
    let entry = vector * Self.wordsPerEntry
    guard table[entry + Self.controlWord] & Self.maskBit == 0 else { return nil }
    let address = UInt64(table[entry + 1]) << 32 | UInt64(table[entry])
    return InterruptMessage(address: address, data: table[entry + 2])
  }

  // MARK: Table and pending bits

  /// Bytes of the table.
  public var tableByteCount: UInt64 { Self.tableByteCount(vectorCount) }

  /// Bytes of the pending-bit array.
  public var pendingByteCount: UInt64 { Self.pendingByteCount(vectorCount) }

  /// Bytes of a table of `vectorCount` entries.
  public static func tableByteCount(_ vectorCount: Int) -> UInt64 {
    UInt64(vectorCount * entryByteCount)
  }

  /// Bytes of `vectorCount` pending bits: whole 64-bit words.
  public static func pendingByteCount(_ vectorCount: Int) -> UInt64 {
    UInt64((vectorCount + 63) / 64 * 8)
  }

  /// Reads table or pending bits; `nil` if the access is to neither.
  public func read(bar: Int, offset: UInt64, width: Int) -> UInt64? {
    if let word = tableWord(bar, offset) { return read(width, from: word, wordAt: tableValue) }
    if let word = pendingWord(bar, offset) { return read(width, from: word, wordAt: pendingValue) }
    return nil
  }

  /// Writes the table; `nil` if the access is to neither table nor pending bits (which are
  /// read-only).
  public mutating func write(
    bar: Int, offset: UInt64, width: Int, value: UInt64, in space: ConfigurationSpace
  ) -> [VectorChange]? {
    guard let word = tableWord(bar, offset) else {
      return pendingWord(bar, offset) == nil ? nil : []
    }
    guard width == 4 || width == 8, offset % UInt64(width) == 0 else { return [] }
    store(UInt32(truncatingIfNeeded: value), at: word)
    if width == 8 { store(UInt32(truncatingIfNeeded: value >> 32), at: word + 1) }
    let vector = word / Self.wordsPerEntry
    return states.update(vector, to: message(vector, in: space)).map { [$0] } ?? []
  }

  private func tableWord(_ bar: Int, _ offset: UInt64) -> Int? {
    Self.word(
      offset, from: UInt64(layout.tableOffset), count: tableByteCount, if: bar == layout.tableBAR)
  }

  private func pendingWord(_ bar: Int, _ offset: UInt64) -> Int? {
    Self.word(
      offset, from: UInt64(layout.pendingOffset), count: pendingByteCount,
      if: bar == layout.pendingBAR)
  }

  private static func word(
    _ offset: UInt64, from start: UInt64, count: UInt64, if here: Bool
  ) -> Int? {
    guard here, offset >= start, offset - start < count else { return nil }
    return Int((offset - start) / 4)
  }

  private func read(_ width: Int, from word: Int, wordAt: (Int) -> UInt32) -> UInt64 {
    let low = UInt64(wordAt(word))
    return width == 8 ? low | UInt64(wordAt(word + 1)) << 32 : truncated(low, width: width)
  }

  private func tableValue(_ word: Int) -> UInt32 {
    table.indices.contains(word) ? table[word] : 0
  }

  private func pendingValue(_ word: Int) -> UInt32 {
    var bits: UInt32 = 0
    for bit in 0..<32 where states.pending.indices.contains(word * 32 + bit) {
      if states.pending[word * 32 + bit] { bits |= 1 << UInt32(bit) }
    }
    return bits
  }

  private mutating func store(_ value: UInt32, at word: Int) {
    guard table.indices.contains(word) else { return }
    switch word % Self.wordsPerEntry {
    case 0: table[word] = value & ~3
    case Self.controlWord: table[word] = value & Self.maskBit
    default: table[word] = value
    }
  }
}
