// SPDX-License-Identifier: Apache-2.0

internal import CLibvos

/// The program in memory, as the kernel would have put it there, with its system calls turned.
struct Memory {
  /// What is added to the file's addresses.
  let bias: UInt64
  private let image: Image

  /// - Parameter file: the descriptor of the image's file.
  init(_ image: Image, _ sites: Sites, _ file: Int) throws(Refusal) {
    let room = Stubs.room(sites)
    guard let (bias, stubs) = Self.reserve(image, room) else {
      throw .unsuited("there is no room for it in memory")
    }
    self.bias = bias
    self.image = image
    for index in 0..<Int(image.header.segment_count) {
      let segment = image.segment(index)
      if Image.isLoaded(segment) { try map(segment, file) }
    }
    guard System.put(stubs, room, System.Protection.readWrite),
      Stubs.write(sites, at: stubs, bias),
      System.protect(stubs, room, System.Protection.readExecute)
    else { throw .unsuited("there is no room near its code") }
    for index in 0..<Int(image.header.segment_count) {
      let segment = image.segment(index)
      if Image.isLoaded(segment) { try protect(segment) }
    }
  }

  // MARK: Room

  private static let step: UInt64 = 1 << 20
  private static let reach: UInt64 = 1 << 30

  /// Keeps the room for all segments, and for the stubs within a jump's reach.
  private static func reserve(_ image: Image, _ room: UInt64) -> (bias: UInt64, stubs: UInt64)? {
    let bytes = image.span.upperBound &- image.span.lowerBound
    guard image.isMovable else {
      guard System.reserve(image.span.lowerBound, bytes, System.Protection.none) != nil,
        let stubs = stubs(image, room)
      else { return nil }
      return (0, stubs)
    }
    // Stubs first: the code is among the first segments.
    let (ahead, whole) = (image.alignment &+ room, image.alignment &+ room &+ bytes)
    guard let start = System.reserve(0, ahead &+ whole, System.Protection.none) else { return nil }
    let place = (start &+ ahead) & ~(image.alignment &- 1)
    let bias = place &- (image.span.lowerBound & ~(image.alignment &- 1))
    return (bias, (bias &+ image.span.lowerBound &- room) & ~(System.pageBytes &- 1))
  }

  /// Below the program, else above it.
  private static func stubs(_ image: Image, _ room: UInt64) -> UInt64? {
    var distance = room
    while distance < reach {
      if image.span.lowerBound > distance &+ step,
        let place = System.reserve(
          image.span.lowerBound &- distance, room, System.Protection.none)
      {
        return place
      }
      let above = image.span.upperBound &+ distance
      if let place = System.reserve(above, room, System.Protection.none) { return place }
      distance = System.pages(distance &+ step)
    }
    return nil
  }

  // MARK: Segments

  /// Writable for the moment: never executable at the same time.
  private func map(_ segment: vos_elf_segment, _ file: Int) throws(Refusal) {
    let pages = Image.pages(of: segment)
    let start = bias &+ pages.lowerBound
    let head = segment.address &- pages.lowerBound
    let filled = segment.file_bytes > 0 ? System.pages(head &+ segment.file_bytes) : 0
    let all = pages.upperBound &- pages.lowerBound
    if filled > 0 {
      guard
        System.put(start, filled, System.Protection.readWrite, file, segment.offset &- head)
      else { throw .unsuited("a segment cannot be mapped") }
    }
    if all > filled {
      guard System.put(start &+ filled, all &- filled, System.Protection.readWrite) else {
        throw .unsuited("a segment cannot be mapped")
      }
    }
    // What the file has behind the segment is none of its own.
    if segment.memory_bytes > segment.file_bytes, filled > 0 {
      clear(start &+ head &+ segment.file_bytes, through: start &+ filled)
    }
  }

  private func clear(_ start: UInt64, through end: UInt64) {
    guard end > start else { return }
    // SAFETY: the rest of the last page that was just mapped writable.
    unsafe UnsafeMutableRawPointer(bitPattern: UInt(start))?.initializeMemory(
      as: UInt8.self, repeating: 0, count: Int(end &- start))
  }

  private func protect(_ segment: vos_elf_segment) throws(Refusal) {
    let pages = Image.pages(of: segment)
    var protection = System.Protection.none
    if segment.flags & Image.Flag.read != 0 { protection |= System.Protection.read }
    if segment.flags & Image.Flag.write != 0 { protection |= System.Protection.write }
    if segment.flags & Image.Flag.execute != 0 { protection |= System.Protection.readExecute }
    let bytes = pages.upperBound &- pages.lowerBound
    guard System.protect(bias &+ pages.lowerBound, bytes, protection) else {
      throw .unsuited("its code must not be executed")
    }
  }
}
