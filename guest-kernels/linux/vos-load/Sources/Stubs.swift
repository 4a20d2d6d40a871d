// SPDX-License-Identifier: Apache-2.0

internal import CVosLoad

/// The code that a turned system call goes through: a page or a few within a jump's reach.
///
///     stub:   what was moved from before the call      site:  jmp stub
///             lea  on(%rip), %rcx                             syscall       (still the program's)
///             jmp  *gate(%rip)                                ...
///     on:     jmp  syscall          8 bytes: make it
///             jmp  behind it                 it is done
///
/// Where what lies behind the call is moved, too, `on` has the system call itself; what was moved
/// comes before the second jump.
enum Stubs {
  static let bytes = 64
  private static let gateBytes = 16  // before the first stub
  private static let doneAt = 8

  static func room(_ sites: Sites) -> UInt64 {
    System.pages(UInt64(Self.gateBytes &+ sites.turned &* bytes))
  }

  /// Writes the stubs at `place`, and the jumps to them into the program's code, which is writable
  /// now and `bias` away from where the file has it. False if a distance is too long.
  static func write(_ sites: Sites, at place: UInt64, _ bias: UInt64) -> Bool {
    var pen = Pen(place)
    pen.put(address: vosload_gate_place())
    var stub = place &+ UInt64(gateBytes)
    for index in 0..<sites.count where sites[index].ahead > 0 || sites[index].behind > 0 {
      let site = sites[index]
      guard write(site, at: stub, gate: place, site.call &+ bias) else { return false }
      stub = stub &+ UInt64(bytes)
    }
    return true
  }

  private static let callBytes: UInt64 = 2
  private static let breakpoint: UInt8 = 0xcc

  private static func write(
    _ site: vosload_site, at stub: UInt64, gate: UInt64, _ call: UInt64
  ) -> Bool {
    let isBehind = site.behind > 0
    let start = call &- UInt64(site.ahead)
    let back = call &+ callBytes &+ UInt64(site.behind)
    var pen = Pen(stub)
    pen.copy(start, UInt64(site.ahead))
    // lea 6(%rip), %rcx: behind the jump that follows.
    pen.put(0x48, 0x8d, 0x0d)
    pen.put(word: 6)
    pen.put(0xff, 0x25)
    guard pen.distance(to: gate) else { return false }
    let on = pen.place
    if isBehind {
      pen.put(0x0f, 0x05)
      pen.put(0xeb, UInt8(doneAt &- 4))
    } else {
      pen.put(0xe9)
      guard pen.distance(to: call) else { return false }
    }
    while pen.place < on &+ UInt64(doneAt) { pen.put(breakpoint) }
    guard move(call &+ callBytes, to: back, &pen) else { return false }
    pen.put(0xe9)
    guard pen.distance(to: back) else { return false }
    // Whoever comes to what was moved by a way that nobody saw shall not go on unseen.
    var there = Pen(start)
    there.put(0xe9)
    guard there.distance(to: stub) else { return false }
    while there.place < (isBehind ? back : call) { there.put(breakpoint) }
    return true
  }

  /// What lies behind a call; a jump at its end is written anew, with its long distance.
  private static func move(_ start: UInt64, to end: UInt64, _ pen: inout Pen) -> Bool {
    var at = start
    while at < end, let bytes = unsafe UnsafePointer<UInt8>(bitPattern: UInt(at)) {
      let code = unsafe Bytes(bytes, Int(end &- at))
      guard let decoded = Decoded(code) else { return false }
      if case .relative(let distance) = decoded.flow {
        switch code[0] {
        case 0x70...0x7f: pen.put(0x0f, code[0] &+ 0x10)
        case 0x0f: pen.put(0x0f, code[1])
        default: pen.put(0xe9)
        }
        guard pen.distance(to: at &+ UInt64(bitPattern: Int64(distance))) else { return false }
      } else {
        pen.copy(at, UInt64(decoded.length))
      }
      at = at &+ UInt64(decoded.length)
    }
    return true
  }
}

/// Writes code from a place on.
@safe
struct Pen {
  private(set) var place: UInt64

  init(_ place: UInt64) { self.place = place }

  // SAFETY (all below): stubs and sites are mapped writable while they are written; Sites keeps what
  // is written there within their bytes.

  private mutating func store<Value: BitwiseCopyable>(_ value: Value) {
    unsafe UnsafeMutableRawPointer(bitPattern: UInt(place))?.storeBytes(of: value, as: Value.self)
    place = place &+ UInt64(MemoryLayout<Value>.size)
  }

  mutating func put(_ byte: UInt8) { store(byte) }
  mutating func put(_ first: UInt8, _ second: UInt8) {
    store(first)
    store(second)
  }
  mutating func put(_ first: UInt8, _ second: UInt8, _ third: UInt8) {
    put(first, second)
    store(third)
  }
  mutating func put(word: UInt32) { store(word) }
  mutating func put(address: UInt64) { store(address) }

  mutating func copy(_ from: UInt64, _ bytes: UInt64) {
    for offset in 0..<bytes {
      guard let source = unsafe UnsafePointer<UInt8>(bitPattern: UInt(from &+ offset)) else {
        return
      }
      store(unsafe source.pointee)
    }
  }

  /// A 32-bit distance, counted from its end; false if it is too long.
  mutating func distance(to target: UInt64) -> Bool {
    let value = Int64(bitPattern: target &- (place &+ 4))
    guard let distance = Int32(exactly: value) else { return false }
    store(distance)
    return true
  }
}
