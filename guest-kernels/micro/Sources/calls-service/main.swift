// SPDX-License-Identifier: Apache-2.0
// Serves null calls from ring 3, spinning, until it is told to stop.
import CMicro
import CVosABI
import Channel
import MicroRuntime

/// Answers one request; true after the last.
private func answer(_ request: Request, _ port: borrowing ServicePort) -> Bool {
  var reply = Reply(result: 0)
  switch UInt32(request.call.number) {
  case VOS_CALL_NULL, UInt32(BenchCall.stop): break
  case UInt32(BenchCall.raw), UInt32(BenchCall.countDoorbells):
    // SAFETY: the port has checked the window; lines are accessed atomically.
    let bytes = unsafe port.bytes(request)
    guard bytes.count >= BenchPage.byteCount, let base = bytes.baseAddress else {
      reply = Reply(result: -22)
      break
    }
    if request.call.number == BenchCall.countDoorbells {
      micro_count_interrupts(UInt64(UInt(bitPattern: unsafe base + BenchPage.doorbells)))
      break
    }
    // The reply goes first: it says that the service is ready to play.
    _ = port.complete(request, reply)
    unsafe echo((base + BenchPage.raw).assumingMemoryBound(to: UInt64.self), request.call)
    return false
  default: reply = Reply(result: -38)
  }
  _ = port.complete(request, reply)
  return request.call.number == BenchCall.stop
}

/// Answers each odd number of the line with the even one after it.
@unsafe
private func echo(_ line: UnsafeMutablePointer<UInt64>, _ call: Call) {
  var next: UInt64 = 1
  for _ in 0..<call.arguments.0 {
    // SAFETY: a line of the window, checked by the caller.
    while unsafe vos_load_acquire64(line) != next {}
    unsafe vos_store_release64(line, next &+ 1)
    next &+= 2
  }
}

/// Lets doorbells interrupt ring 3; the stub counts them where the client has said.
private func takeDoorbells(_ device: Ivshmem) -> Bool {
  guard device.route(entry: 0, to: Interrupts.firstVector) else { return false }
  LocalAPIC.enableInterrupts()
  return true
}

private func run() -> String? {
  guard let device = Ivshmem.first() else { return "no ivshmem device" }
  guard let channel = try? device.channel() else { return "no channel" }
  if !takeDoorbells(device) { Console.line("INFO no-doorbell") }
  // SAFETY: never freed, in memory that ring 3 may touch; ring 3 is its only user.
  let context = UnsafeMutablePointer<ChannelRegion>.allocate(capacity: 1)
  unsafe context.initialize(to: channel)
  let served = unsafe UserMode.run(
    { serve(unsafe $0!.assumingMemoryBound(to: ChannelRegion.self).pointee, answer) }, context)
  if served < 0 { return "ring 3 ended with \(served)" }
  Console.line("RESULT served \(served)")
  return nil
}

report("calls-service", run())
