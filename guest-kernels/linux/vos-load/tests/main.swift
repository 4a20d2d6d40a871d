// SPDX-License-Identifier: Apache-2.0

// decoded FILE OFFSET BYTES ADDRESS: where vos-load's reader finds instructions, an address a line, as
// objdump prints them. Numbers are hexadecimal.

import Glibc

let words = CommandLine.arguments
let numbers = words.dropFirst(2).compactMap { Int($0, radix: 16) }
guard numbers.count == 3 else { exit(2) }
let file = open(words[1], O_RDONLY)
var bytes = [UInt8](repeating: 0, count: numbers[1])
guard pread(file, &bytes, numbers[1], numbers[0]) == numbers[1] else { exit(1) }
bytes.withUnsafeBufferPointer { buffer in
  guard let start = buffer.baseAddress else { return }
  let code = Bytes(start, buffer.count)
  var at = 0
  while at < code.count {
    print(String(numbers[2] + at, radix: 16))
    at += max(Decoded(code.from(at))?.length ?? 1, 1)
  }
}
