// SPDX-License-Identifier: Apache-2.0

internal import CLibvos
internal import CVosABI

/// The real functions, by dlsym(RTLD_NEXT). What the C library lacks fails with ENOSYS.
func resolve() {
  // SAFETY: both tables are static; the names stand in the order of the structure's fields.
  let table = unsafe UnsafeMutableRawPointer(libvos_real())
  let word = MemoryLayout<UInt>.size
  for index in 0..<MemoryLayout<libvos_next>.size / word {
    let symbol = unsafe nextSymbol(libvos_names()[index])
    unsafe table.storeBytes(of: symbol, toByteOffset: index &* word, as: UInt.self)
  }
  resolveThunks()
  unsafe vos_store_release32(libvos_resolved(), 1)
}

private func nextSymbol(_ name: UnsafePointer<CChar>?) -> UInt {
  // SAFETY: RTLD_NEXT is -1.
  let next = unsafe UnsafeMutableRawPointer(bitPattern: -1)
  if let found = unsafe dlsym(next, name) { return UInt(bitPattern: found) }
  let missing: @convention(c) () -> Int = missingFunction
  return unsafe unsafeBitCast(missing, to: UInt.self)
}

@c(libvos_missing)
func missingFunction() -> Int { Hot.failed(Linux.notOffered) }

/// DT_INIT: the C library passes what main will get.
@c(libvos_start)
public func start(
  _ count: Int32, _ arguments: UnsafeRawPointer?,
  _ environment: UnsafePointer<UnsafePointer<CChar>?>?
) {
  _ = unsafe real()
  let mounts = unsafe readEnvironment(environment)
  let kinds = unsafe libvos_set().pointee.off
  // Also where no file is made fast: sync goes by them.
  keepingErrorNumber { unsafe Mounts.learn(mounts) }
  if kinds != VOS_CARRIES_FILES | VOS_CARRIES_SOCKETS { keepingErrorNumber { Rewriting.run() } }
}

private func resolveThunks() {
  // SAFETY: the linker puts one array between the table's two symbols (thunks.S).
  let table = unsafe libvos_first_thunk()
  for index in 0..<libvos_thunk_count() {
    unsafe table[index].next = UnsafeMutableRawPointer(bitPattern: nextSymbol(table[index].name))
  }
}

/// Takes all settings but VOS_MOUNTS, which is returned.
private func readEnvironment(
  _ environment: UnsafePointer<UnsafePointer<CChar>?>?
) -> UnsafePointer<CChar>? {
  guard var next = unsafe environment else { return nil }
  let settings = unsafe libvos_set()
  var mounts: UnsafePointer<CChar>?
  // SAFETY: the environment is an array of strings that ends with a null pointer.
  while let entry = unsafe next.pointee {
    unsafe next = unsafe next + 1
    if let value = unsafe value(entry, "VOS_FAST=") {
      unsafe settings.pointee.off = kindsOff(value)
    } else if let value = unsafe value(entry, "VOS_DEBUG=") {
      unsafe settings.pointee.debug = value[0] == CChar(bitPattern: UInt8(ascii: "1")) ? 1 : 0
      if unsafe settings.pointee.debug != 0 { keepStandardError() }
    } else if let value = unsafe value(entry, "VOS_SPIN=") {
      unsafe settings.pointee.spin_said = number(value) &+ 1
    } else if let value = unsafe value(entry, "VOS_YIELD=") {
      unsafe settings.pointee.yield_said = number(value) &+ 1
    } else if let value = unsafe value(entry, "VOS_REWRITE=") {
      let isWanted = unsafe value[0] == CChar(bitPattern: UInt8(ascii: "1"))
      unsafe settings.pointee.rewrite = isWanted ? Rewriting.State.wanted : Rewriting.State.no
    } else if let value = unsafe value(entry, "VOS_MOUNTS=") {
      unsafe mounts = unsafe value
    }
  }
  return unsafe mounts
}

/// Many programs close standard error before they end.
private func keepStandardError() {
  let duplicateCloseOnExec: Int32 = 1030
  let copy = keepingErrorNumber {
    unsafe real().pointee.fcntl64(2, duplicateCloseOnExec, 901)
  }
  if copy >= 0 { unsafe libvos_set().pointee.debug = UInt32(copy) }
}

private func value(
  _ entry: UnsafePointer<CChar>, _ name: StaticString
) -> UnsafePointer<CChar>? {
  for index in 0..<name.utf8CodeUnitCount
  where unsafe entry[index] != CChar(bitPattern: name.utf8Start[index]) { return nil }
  return unsafe entry + name.utf8CodeUnitCount
}

/// "0" turns all off; "sockets" and "files" leave only that kind.
private func kindsOff(_ value: UnsafePointer<CChar>) -> UInt32 {
  switch unsafe UInt8(bitPattern: value[0]) {
  case UInt8(ascii: "0"): return VOS_CARRIES_SOCKETS | VOS_CARRIES_FILES
  case UInt8(ascii: "s"): return VOS_CARRIES_FILES
  case UInt8(ascii: "f"): return VOS_CARRIES_SOCKETS
  default: return 0
  }
}

private func number(_ value: UnsafePointer<CChar>) -> UInt32 {
  var result: UInt32 = 0
  var at = 0
  while at < 9, case let digit = unsafe UInt8(bitPattern: value[at]) &- 48, digit < 10 {
    result = result &* 10 &+ UInt32(digit)
    at = at &+ 1
  }
  return result
}

/// DT_FINI.
@c(libvos_stop)
public func stop() {
  // A program that closed every number has closed this one too: then nothing is printed.
  guard unsafe libvos_set().pointee.debug != 0 else { return }
  var line = Line()
  line.add("libvos: pid ")
  line.add(UInt64(UInt32(bitPattern: getpid())))
  let count = Process.isPrepared ? unsafe libvos_this().pointee.channel_count : 0
  for index in 0..<count {
    let channel = unsafe Channel(pointer: libvos_channel_at(index), index: Int32(index))
    line.add(channel.carries & VOS_CARRIES_SOCKETS != 0 ? ", sockets" : ", files")
    line.add(": slice ")
    line.add(UInt64(channel.slice))
    line.add(" fast ")
    line.add(channel.fastCalls)
    line.add(" fallback ")
    line.add(channel.fallbackCalls)
  }
  if count == 0 { line.add(", no slice") }
  switch unsafe libvos_set().pointee.rewrite {
  case Rewriting.State.done: line.add(", rewritten")
  case Rewriting.State.refused: line.add(", not rewritten: this C library is not as expected")
  default: break
  }
  // SAFETY: the text is alive during the call.
  unsafe line.end { text in
    let kept = unsafe Int32(bitPattern: libvos_set().pointee.debug)
    _ = unsafe real().pointee.write(kept > 2 ? kept : 2, text.baseAddress, text.count)
  }
}

extension Channel {
  fileprivate var fastCalls: UInt64 {
    unsafe vos_load_acquire64(libvos_fast_calls(libvos_header(pointer)))
  }
  fileprivate var fallbackCalls: UInt64 {
    unsafe vos_load_acquire64(libvos_fallback_calls(libvos_header(pointer)))
  }
}
