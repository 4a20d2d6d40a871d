// SPDX-License-Identifier: Apache-2.0
import Glibc

/// x86-64 code, in a page that may be executed.
@safe
struct Gate: @unchecked Sendable {
  // @unchecked: neither changes.

  typealias Function = @convention(c) (Int, Int, Int, Int) -> Int

  /// Makes the call whose number and first three arguments are its own arguments.
  static let bytes: [UInt8] = [
    0x48, 0x89, 0xF8,  // mov rax, rdi
    0x48, 0x89, 0xF7,  // mov rdi, rsi
    0x48, 0x89, 0xD6,  // mov rsi, rdx
    0x48, 0x89, 0xCA,  // mov rdx, rcx
    0x0F, 0x05, 0xC3,  // syscall; ret
  ]
  /// Makes the 32-bit call getpid.
  static let oldBytes: [UInt8] = [
    0xB8, 20, 0, 0, 0,  // mov eax, 20
    0xCD, 0x80, 0xC3,  // int 0x80; ret
  ]

  static let modern = Gate(bytes)
  static let old = Gate(oldBytes)

  let page: UnsafeMutableRawPointer
  let enter: Function

  init?(_ code: [UInt8]) {
    let page = unsafe mmap(
      nil, 4096, PROT_READ | PROT_WRITE | PROT_EXEC, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0)
    guard let page = unsafe page, unsafe page != MAP_FAILED else { return nil }
    // SAFETY: a fresh page, which holds the few bytes; they are a function of that type.
    unsafe page.copyMemory(from: code, byteCount: code.count)
    unsafe self.page = page
    enter = unsafe unsafeBitCast(page, to: Function.self)
  }
}
