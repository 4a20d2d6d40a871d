// SPDX-License-Identifier: Apache-2.0
import CVosABI

/// Answers requests that a `ServicePort` handed out, from any thread, while the port lives.
@safe
public struct ServiceCompleter: @unchecked Sendable {
  // @unchecked: the region's words and the busy bytes are atomic; nothing else is touched.

  private let region: ChannelRegion
  @unsafe private let slices: UnsafeMutablePointer<ServedSlice>

  @unsafe
  init(region: ChannelRegion, slices: UnsafeMutablePointer<ServedSlice>) {
    self.region = region
    unsafe self.slices = slices
  }

  /// The bytes of a request's window. The client may change them at any time: copy, then use.
  @unsafe
  public func bytes(_ request: Request) -> UnsafeMutableRawBufferPointer {
    unsafe region.slice(request.slice).bytes(request.call.data)
  }

  /// Answers a request, once. A reply longer than its room becomes EPROTO.
  ///
  /// - Returns: whether the caller sleeps, so that a completion event is due.
  public func complete(_ request: Request, _ reply: Reply) -> Bool {
    let memory = region.slice(request.slice)
    let fits = reply.dataLength <= request.call.data.capacity
    memory.writeReply(request.slot, fits ? reply : .protocolError)
    let before = memory.exchangeState(
      request.slot, SlotWord.make(SlotWord.done, request.sequence))
    release(request)
    return before & SlotWord.waiter != 0
  }

  /// Lets go of a request without an answer: its slice is dead, and nobody reads one.
  public func drop(_ request: Request) {
    release(request)
  }

  /// From here on the slot may be taken again.
  private func release(_ request: Request) {
    // SAFETY: a private atomic byte, of the first field of the slice's state.
    let busy = unsafe (UnsafeMutableRawPointer(slices + request.slice) + request.slot)
      .assumingMemoryBound(to: UInt8.self)
    unsafe vos_store_release8(busy, 0)
  }
}
