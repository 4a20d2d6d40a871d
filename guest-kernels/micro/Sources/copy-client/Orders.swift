// SPDX-License-Identifier: Apache-2.0
import CMicro
import CVosABI
import Channel
import MicroRuntime

/// Carries out what the host orders by the copy page; ring 3 runs it.
@safe
struct Orders: ~Copyable {
  private let channel: ChannelRegion
  private var file: RemoteFile
  /// Made once: the heap only grows.
  private var times = Histogram()
  @unsafe private let buffer: UnsafeMutableRawBufferPointer
  @unsafe private let page: UnsafeMutableRawPointer

  /// What `run` returns.
  enum Failure: Int64 {
    case none = 0
    case notServed
    case noOrder

    var text: String? {
      switch self {
      case .none: nil
      case .notServed: "the service does not serve the slice"
      case .noOrder: "the host gives no order"
      }
    }
  }

  /// - Parameter buffer: room for the longest block.
  init(_ channel: ChannelRegion, _ device: Ivshmem, _ buffer: UnsafeMutableRawBufferPointer) {
    let client = SliceClient(region: channel, slice: 0)
    let window = DataWindow(offset: 0, capacity: UInt32(CopyPage.byteCount))
    self.channel = channel
    // SAFETY: the arena begins with the copy page; it is mapped while the guest runs.
    unsafe page = client.bytes(window).baseAddress!
    unsafe self.buffer = buffer
    file = RemoteFile(client, device)
  }

  @unsafe
  private func word(_ offset: Int) -> UnsafeMutablePointer<UInt64> {
    // SAFETY: the copy page's offsets lie within it and are aligned.
    unsafe (page + offset).assumingMemoryBound(to: UInt64.self)
  }

  private func load(_ offset: Int) -> UInt64 { unsafe vos_load_acquire64(word(offset)) }

  private func store(_ offset: Int, _ value: UInt64) {
    unsafe vos_store_release64(word(offset), value)
  }

  mutating func run() -> Int64 {
    let failure = connect() ? obey() : .notServed
    // Also after a failure: a service left alone would spin for ever.
    _ = file.call(Call(BenchCall.stop))
    return failure.rawValue
  }

  /// Gives the slice out and waits until it is served.
  private func connect() -> Bool {
    channel.page(of: .client).announce(.ready, generation: 1)
    channel.publish(SliceEntry(state: .live, generation: 1), slice: 0)
    return spin(until: { file.servedGeneration == 1 })
  }

  private mutating func obey() -> Failure {
    var number: UInt64 = 0
    while true {
      number += 1
      guard waitForOrder(number) else { return .noOrder }
      let block = Int(min(load(CopyPage.blockBytes), UInt64(CopyPage.maximumBlockBytes)))
      if block == 0 { return .none }
      let seed = load(CopyPage.seed)
      if seed == 0 { measure(block, load(CopyPage.transfers)) } else { check(block, seed) }
      store(CopyPage.answer, number)
    }
  }

  private func waitForOrder(_ number: UInt64) -> Bool {
    spin(until: {
      store(CopyPage.clock, micro_ticks())
      return load(CopyPage.order) == number
    })
  }

  /// Reads the whole file `transfers` times.
  private mutating func measure(_ block: Int, _ transfers: UInt64) {
    times.clear()
    var isWhole = true
    for _ in 0..<max(transfers, 1) {
      let start = micro_ticks()
      for offset in stride(from: 0, to: CopyPage.fileBytes, by: block) {
        isWhole = read(block, at: offset) && isWhole
      }
      times.add(micro_ticks() &- start)
    }
    store(CopyPage.ticks, times.quantile(perThousand: 500))
    store(CopyPage.wrongBytes, isWhole ? 0 : .max)
  }

  /// The bytes of the block at `offset`, in the buffer; the last one may be short.
  private mutating func read(_ block: Int, at offset: Int) -> Bool {
    let count = min(block, CopyPage.fileBytes - offset)
    // SAFETY: the buffer has room for the longest block.
    return unsafe file.read(UnsafeMutableRawBufferPointer(rebasing: buffer[..<count]), at: offset)
  }

  /// Has the file filled anew, reads it and looks at every byte.
  private mutating func check(_ block: Int, _ seed: UInt64) {
    var wrong: UInt64 = 0
    var isWhole = file.call(Call(BenchCall.fill, arguments: (seed, 0, 0))) == 0
    for offset in stride(from: 0, to: CopyPage.fileBytes, by: block) {
      isWhole = read(block, at: offset) && isWhole
      for index in 0..<min(block, CopyPage.fileBytes - offset) {
        // SAFETY: within the block that was read.
        let byte = unsafe buffer[index]
        if byte != CopyPage.byte(at: offset + index, seed: seed) { wrong += 1 }
        // So that a byte which is not copied next time is seen.
        unsafe buffer[index] = ~byte
      }
    }
    store(CopyPage.wrongBytes, isWhole ? wrong : .max)
  }
}
