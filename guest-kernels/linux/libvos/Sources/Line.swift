// SPDX-License-Identifier: Apache-2.0

/// One line of text, without allocation; what does not fit is cut off. libvos-mn is built with it, too.
struct Line {
  private var bytes = InlineArray<240, UInt8>(repeating: 0)
  private var count = 0

  mutating func add(_ text: StaticString) {
    for index in 0..<text.utf8CodeUnitCount { add(byte: unsafe text.utf8Start[index]) }
  }

  mutating func add(_ value: UInt64) {
    var divisor: UInt64 = 1
    while value / divisor > 9 { divisor = divisor &* 10 }
    while divisor > 0 {
      add(byte: UInt8(truncatingIfNeeded: value / divisor % 10) &+ 48)
      divisor = divisor / 10
    }
  }

  mutating func add(byte: UInt8) {
    guard count < 239 else { return }
    bytes[count] = byte
    count = count &+ 1
  }

  /// Ends the line, and hands it over to be written.
  mutating func end(_ write: (UnsafeRawBufferPointer) -> Void) {
    add(byte: 10)
    let length = count
    // SAFETY: `count` never exceeds the array's.
    unsafe bytes.span.withUnsafeBytes {
      unsafe write(UnsafeRawBufferPointer(rebasing: $0[..<length]))
    }
  }
}
