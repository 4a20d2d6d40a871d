// SPDX-License-Identifier: Apache-2.0
import CFuzz
import Glibc

/// The bytes of one run, taken from the front. Behind the end there are zeros.
public struct Input {
  private var rest: ArraySlice<UInt8>

  /// - Parameter start: `count` bytes, of which a copy is made.
  public init(_ start: UnsafePointer<UInt8>?, _ count: Int) {
    rest = Array(UnsafeBufferPointer(start: start, count: count))[...]
  }

  public init(_ bytes: some Sequence<UInt8>) { rest = Array(bytes)[...] }

  public var isEmpty: Bool { rest.isEmpty }
  public var count: Int { rest.count }

  public mutating func byte() -> UInt8 { rest.popFirst() ?? 0 }

  /// A number of little-endian bytes.
  public mutating func number<T: FixedWidthInteger & UnsignedInteger>(_: T.Type = T.self) -> T {
    (0..<T.bitWidth / 8).reduce(0) { $0 | T(byte()) << T(8 * $1) }
  }

  /// One of 0 ..< `bound`, of at most 65536.
  public mutating func below(_ bound: Int) -> Int {
    guard bound > 1 else { return 0 }
    return Int(bound <= 256 ? UInt16(byte()) : number(UInt16.self)) % bound
  }

  /// So many bytes, or what is left.
  public mutating func take(_ count: Int) -> [UInt8] {
    let taken = rest.prefix(count)
    rest = rest.dropFirst(count)
    return Array(taken)
  }

  /// All that is left.
  public mutating func takeAll() -> [UInt8] { take(rest.count) }

  /// Mostly a small or a borderline number, at times any.
  public mutating func interesting() -> UInt64 {
    switch byte() {
    case 0..<96: UInt64(byte())
    case 96..<128: UInt64(number(UInt16.self))
    case 128..<144: UInt64.max - UInt64(byte())
    case 144..<160: UInt64(UInt32.max) - UInt64(byte())
    case 160..<176: 1 << UInt64(byte() & 63)
    case 176..<208: UInt64(number(UInt32.self))
    default: number(UInt64.self)
    }
  }
}

nonisolated(unsafe) private var fuzzed: (inout Input) -> Void = { _ in }

/// Runs `body` with as many inputs as libFuzzer's arguments ask for, then ends the program. (It is
/// not `Never`, so that types may follow it in a `main.swift`.)
public func fuzz(_ body: @escaping (inout Input) -> Void) {
  fuzzed = body
  exit(
    fuzz_run(CommandLine.argc, CommandLine.unsafeArgv) { start, count in
      var input = Input(start, count)
      fuzzed(&input)
      return 0
    })
}

/// Ends the run unless `isSo`.
public func expect(_ isSo: Bool, _ what: StaticString) {
  if !isSo {
    unsafe fuzz_fail(UnsafeRawPointer(what.utf8Start).assumingMemoryBound(to: CChar.self))
  }
}

/// Page-aligned zeros; whoever touches their neighbours ends the run. One at a time: all are the same
/// memory, which is quicker than new memory for each run.
public final class Pages {
  public let base: UnsafeMutableRawPointer
  public let byteCount: Int

  private static let most = 1 << 20
  nonisolated(unsafe) private static let memory = UnsafeMutableRawPointer.allocate(
    byteCount: most + 4096, alignment: 4096)

  public init(byteCount: Int) {
    precondition(byteCount <= Self.most)
    base = Self.memory
    self.byteCount = byteCount
    base.initializeMemory(as: UInt8.self, repeating: 0, count: byteCount)
    fuzz_forbid(base + byteCount, Self.most + 4096 - byteCount)
  }

  deinit { fuzz_allow(base, Self.most + 4096) }
}
