// SPDX-License-Identifier: Apache-2.0

/// Parses a size such as `512MiB`, `2GiB`, `64KiB`; `nil` if it is none or does not fit.
///
/// Powers of 1024 only, unit required: `512M` and `512MB` mean different things to different people.
public func parseByteCount(_ text: String) -> UInt64? {
  let units: [(suffix: String, shift: UInt64)] = [
    ("KiB", 10), ("MiB", 20), ("GiB", 30), ("TiB", 40),
  ]
  guard let unit = units.first(where: { text.hasSuffix($0.suffix) }) else { return nil }
  let digits = text.dropLast(3)
  guard (1...10).contains(digits.count), digits.allSatisfy({ "0"..."9" ~= $0 }),
    let count = UInt64(digits)
  else { return nil }
  let product = count.multipliedReportingOverflow(by: 1 << unit.shift)
  return product.overflow ? nil : product.partialValue
}

/// Formats a size as the manifest writes it, in the largest unit that leaves no fraction.
public func formatByteCount(_ count: UInt64) -> String {
  for (suffix, shift) in [("TiB", UInt64(40)), ("GiB", 30), ("MiB", 20), ("KiB", 10)]
  where count != 0 && count & ((1 << shift) - 1) == 0 {
    return "\(count >> shift)\(suffix)"
  }
  return "\(count) bytes"
}

/// The full form `0000:01:00.0` of a PCI address; `nil` if `text` is none. The domain may be left
/// out; function 0…7, device 0…1f (PCI Local Bus 3.0, 3.2.2.3).
public func canonicalPCIAddress(_ text: String) -> String? {
  let parts = text.split(separator: ":", omittingEmptySubsequences: false)
  guard parts.count == 2 || parts.count == 3 else { return nil }
  let tail = parts[parts.count - 1].split(separator: ".", omittingEmptySubsequences: false)
  guard tail.count == 2, tail[1].utf8.count == 1,
    let domain = parts.count == 3 ? hexadecimal(parts[0], digits: 4) : 0,
    let bus = hexadecimal(parts[parts.count - 2], digits: 2),
    let device = hexadecimal(tail[0], digits: 2), device < 32,
    let function = hexadecimal(tail[1], digits: 1), function < 8
  else { return nil }
  return "\(padded(domain, 4)):\(padded(bus, 2)):\(padded(device, 2)).\(function)"
}

private func hexadecimal(_ text: Substring, digits: Int) -> UInt32? {
  guard text.utf8.count == digits, text.allSatisfy({ $0.isASCII && $0.isHexDigit }) else {
    return nil
  }
  return UInt32(text, radix: 16)
}

private func padded(_ number: UInt32, _ digits: Int) -> String {
  let text = String(number, radix: 16)
  return String(repeating: "0", count: max(0, digits - text.count)) + text
}

/// A dotted IPv4 address as a number; `nil` if `text` is none.
func parseIPv4(_ text: some StringProtocol) -> UInt32? {
  let parts = text.split(separator: ".", omittingEmptySubsequences: false)
  guard parts.count == 4 else { return nil }
  var address: UInt32 = 0
  for part in parts {
    guard (1...3).contains(part.utf8.count), part.allSatisfy({ "0"..."9" ~= $0 }),
      part.utf8.count == 1 || part.first != "0", let number = UInt32(part), number < 256
    else { return nil }
    address = address << 8 | number
  }
  return address
}

/// An IPv4 address with its prefix length, such as `10.0.2.15/24`.
func parseIPv4Prefix(_ text: String) -> (address: UInt32, prefix: Int)? {
  let parts = text.split(separator: "/", omittingEmptySubsequences: false)
  guard parts.count == 2, let address = parseIPv4(parts[0]), (1...2).contains(parts[1].utf8.count),
    parts[1].allSatisfy({ "0"..."9" ~= $0 }), let prefix = Int(parts[1]), (1...32).contains(prefix)
  else { return nil }
  return (address, prefix)
}

/// Whether `text` can name a system, a domain or a channel: `[a-z][a-z0-9-]*`, at most 31 bytes.
public func isName(_ text: String) -> Bool {
  guard let first = text.utf8.first, text.utf8.count <= ManifestLimits.nameBytes else {
    return false
  }
  let lower = UInt8(ascii: "a")...UInt8(ascii: "z")
  let digit = UInt8(ascii: "0")...UInt8(ascii: "9")
  return lower ~= first
    && text.utf8.allSatisfy { lower ~= $0 || digit ~= $0 || $0 == UInt8(ascii: "-") }
}

/// Whether `text` is a plain word for a kernel interface (module, file system type, interface):
/// letters, digits, `_`, `-`, `.`, at most 31 bytes.
func isWord(_ text: String) -> Bool {
  (1...31).contains(text.utf8.count)
    && text.unicodeScalars.allSatisfy {
      $0.isASCII
        && ($0.properties.isAlphabetic || "0"..."9" ~= Character($0)
          || "_-.".unicodeScalars.contains($0))
    }
}

/// Shows what was found, cut to a length that a message bears and without control characters.
func quoted(_ text: String) -> String {
  let shown = text.unicodeScalars.prefix(48).map {
    $0.value < 32 || $0.value == 127 ? "?" : String($0)
  }
  return "\"" + shown.joined() + (text.unicodeScalars.count > 48 ? "…" : "") + "\""
}
