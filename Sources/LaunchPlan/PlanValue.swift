// SPDX-License-Identifier: Apache-2.0

/// One line's value, and how to read it as each kind of value there is.
struct PlanValue {
  let key: String
  let text: String
  let line: Int

  func error(_ reason: String) -> LaunchPlanError {
    LaunchPlanError(line: line, reason: "\(key) \(reason)")
  }

  /// Sets `field`, once only.
  func set<T>(_ field: inout T?, _ value: T) throws(LaunchPlanError) {
    guard field == nil else { throw error("given twice") }
    field = value
  }

  /// Plain decimal digits, without sign or leading zeros.
  private func digits<T: FixedWidthInteger>(
    _ text: some StringProtocol, as type: T.Type
  ) -> T? {
    guard !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }),
      text.utf8.count == 1 || text.utf8.first != 0x30
    else { return nil }
    return T(text, radix: 10)
  }

  func number(in range: ClosedRange<Int>) throws(LaunchPlanError) -> Int {
    guard let number = digits(text, as: Int.self), range.contains(number) else {
      throw error("is \(text), expected \(range.lowerBound) to \(range.upperBound)")
    }
    return number
  }

  func index() throws(LaunchPlanError) -> Int { try index(text) }

  private func index(_ text: some StringProtocol) throws(LaunchPlanError) -> Int {
    guard let index = digits(text, as: Int.self), index < 253 else {
      throw error("is \(text), expected a descriptor's index")
    }
    return index
  }

  func indices(_ text: some StringProtocol) throws(LaunchPlanError) -> [Int] {
    var indices: [Int] = []
    for part in text.split(separator: ",", omittingEmptySubsequences: false) {
      indices.append(try index(part))
    }
    guard (1...LaunchPlan.Limits.vectors).contains(indices.count) else {
      throw error("has \(indices.count) vectors, at most \(LaunchPlan.Limits.vectors) allowed")
    }
    return indices
  }

  func peer(_ text: some StringProtocol) throws(LaunchPlanError) -> UInt16 {
    guard let peer = digits(text, as: UInt16.self) else {
      throw error("is \(text), expected a peer id of 16 bits")
    }
    return peer
  }

  private func halves() throws(LaunchPlanError) -> (Substring, Substring) {
    let parts = text.split(separator: ":", omittingEmptySubsequences: false)
    guard parts.count == 2 else { throw error("is \(text), expected two parts with a colon") }
    return (parts[0], parts[1])
  }

  func remote() throws(LaunchPlanError) -> LaunchPlan.Remote {
    let (peer, vectors) = try halves()
    return LaunchPlan.Remote(peer: try self.peer(peer), vectors: try indices(vectors))
  }

  func pageRange() throws(LaunchPlanError) -> LaunchPlan.PageRange {
    let (first, second) = try halves()
    let page = LaunchPlan.Limits.pageBytes
    guard let offset = digits(first, as: UInt64.self), let count = digits(second, as: UInt64.self),
      offset % page == 0, count % page == 0, count > 0
    else { throw error("is \(text), expected offset:bytes in whole pages") }
    return LaunchPlan.PageRange(offset: offset, byteCount: count)
  }

  func regionBytes() throws(LaunchPlanError) -> UInt64 {
    guard let bytes = digits(text, as: UInt64.self), bytes >= LaunchPlan.Limits.pageBytes,
      bytes.nonzeroBitCount == 1, bytes <= 1 << 36
    else { throw error("is \(text), expected a power of two from 4096 to 2^36") }
    return bytes
  }

  func memoryBytes() throws(LaunchPlanError) -> UInt64 {
    let unit = LaunchPlan.Limits.memoryUnit
    guard let bytes = digits(text, as: UInt64.self), bytes >= unit, bytes % unit == 0,
      bytes <= LaunchPlan.Limits.memoryBytes
    else {
      throw error(
        "is \(text), expected a multiple of \(unit) up to \(LaunchPlan.Limits.memoryBytes)")
    }
    return bytes
  }

  func boolean() throws(LaunchPlanError) -> Bool {
    switch text {
    case "true": return true
    case "false": return false
    default: throw error("is \(text), expected true or false")
    }
  }

  func name() throws(LaunchPlanError) -> String {
    let allowed = text.utf8.allSatisfy {
      switch $0 {
      case 0x30...0x39, 0x41...0x5a, 0x61...0x7a, 0x2d, 0x2e, 0x5f: true
      default: false
      }
    }
    guard allowed, (1...63).contains(text.utf8.count) else {
      throw error("is \"\(text)\", expected 1 to 63 letters, digits, dots, dashes")
    }
    return text
  }

  func commandLine() throws(LaunchPlanError) -> String {
    guard text.utf8.count <= LaunchPlan.Limits.commandLineBytes else {
      throw error(
        "has \(text.utf8.count) bytes, at most \(LaunchPlan.Limits.commandLineBytes) allowed")
    }
    return text
  }

  /// `dddd:bb:ss.f` in lower-case hexadecimal.
  func hostAddress() throws(LaunchPlanError) -> String {
    let bytes = Array(text.utf8)
    let shape = Array("xxxx:xx:xx.x".utf8)
    let fits =
      bytes.count == shape.count
      && zip(bytes, shape).allSatisfy { byte, form in
        form == 0x78
          ? (0x30...0x39).contains(byte) || (0x61...0x66).contains(byte) : byte == form
      }
    guard fits else { throw error("is \(text), expected an address such as 0000:01:00.0") }
    return text
  }
}
