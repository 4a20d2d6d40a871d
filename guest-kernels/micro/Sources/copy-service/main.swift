// SPDX-License-Identifier: Apache-2.0
// Serves reads of one file, which is in this guest's RAM, from ring 3, until it is told to stop.
import CMicro
import CVosABI
import Channel
import MicroRuntime

/// What ring 3 needs.
@safe
private struct Storage {
  let region: ChannelRegion
  @unsafe let file: UnsafeMutableRawBufferPointer

  /// Answers one request; true after the last.
  func answer(_ request: Request, _ port: borrowing ServicePort) -> Bool {
    let call = request.call
    let reply =
      switch UInt32(call.number) {
      case VOS_CALL_PREAD64: read(request, port)
      case UInt32(BenchCall.fill): fill(call.arguments.0)
      case UInt32(BenchCall.stop): Reply(result: 0)
      default: Reply(result: -38)
      }
    _ = port.complete(request, reply)
    return call.number == BenchCall.stop
  }

  private func read(_ request: Request, _ port: borrowing ServicePort) -> Reply {
    let call = request.call
    guard call.object == CopyPage.file else { return Reply(result: -9) }
    guard let offset = Int(exactly: call.arguments.0) else { return Reply(result: -22) }
    // SAFETY: the port has checked the window.
    let window = unsafe port.bytes(request)
    let count = unsafe min(Int(call.data.capacity), max(file.count - offset, 0))
    guard count > 0, let target = window.baseAddress, let source = unsafe file.baseAddress
    else { return Reply(result: 0) }
    // SAFETY: `count` is within the window's capacity and within the file from `offset` on.
    unsafe micro_copy(target, source + offset, UInt64(count))
    return Reply(result: Int64(count), dataLength: UInt32(count))
  }

  private func fill(_ seed: UInt64) -> Reply {
    for index in 0..<CopyPage.fileBytes / 8 {
      // SAFETY: the file has that many words.
      unsafe file.storeBytes(
        of: CopyPage.word(index, seed: seed), toByteOffset: index * 8, as: UInt64.self)
    }
    return Reply(result: 0)
  }
}

private func run() -> String? {
  guard let device = Ivshmem.first() else { return "no ivshmem device" }
  guard let channel = try? device.channel() else { return "no channel" }
  guard let file = unsafe Memory.reserve(CopyPage.fileBytes) else { return "too little memory" }
  // SAFETY: never freed, in memory that ring 3 may touch; ring 3 is its only user.
  let storage = UnsafeMutablePointer<Storage>.allocate(capacity: 1)
  unsafe storage.initialize(to: Storage(region: channel, file: file))
  let served = unsafe UserMode.run(
    { context in
      let storage = unsafe context!.assumingMemoryBound(to: Storage.self).pointee
      return serve(storage.region) { storage.answer($0, $1) }
    }, storage)
  if served < 0 { return "ring 3 ended with \(served)" }
  Console.line("RESULT served \(served)")
  return nil
}

report("copy-service", run())
