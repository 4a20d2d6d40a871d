// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Channel
import Glibc

/// A formatted region in shared anonymous memory, which stays mapped until the process ends:
/// regions, pages and clients taken from it do not keep it alive.
final class TestRegion: @unchecked Sendable {
  // @unchecked: the mapping never moves; tests race on its contents on purpose.
  let base: UnsafeMutableRawPointer
  let byteCount: Int
  let region: ChannelRegion

  init(slices: Int = 2, slots: Int = 8, arenaBytes: Int = 65536, events: Int = 64) throws {
    let geometry = try Geometry.layout(
      channel: 7, carries: VOS_CARRIES_SOCKETS, sliceCount: slices, slotCount: slots,
      arenaBytes: arenaBytes, eventCount: events)
    byteCount = geometry.regionBytes
    base = mmap(nil, byteCount, PROT_READ | PROT_WRITE, MAP_SHARED | MAP_ANONYMOUS, -1, 0)!
    region = try ChannelRegion(
      formatting: base, geometry: geometry, name: Array("test".utf8).span)
  }

  func giveOut(_ slice: Int, generation: UInt32 = 1) {
    region.publish(SliceEntry(state: .live, generation: generation), slice: slice)
  }
}

/// A thread that is joined when its result is asked for.
final class TestThread {
  private final class Body {
    let run: () -> Void
    init(_ run: @escaping () -> Void) { self.run = run }
  }
  private var thread = pthread_t()

  init(_ body: @escaping @Sendable () -> Void) {
    let box = Unmanaged.passRetained(Body(body))
    pthread_create(
      &thread, nil,
      {
        Unmanaged<Body>.fromOpaque($0!).takeRetainedValue().run()
        return nil
      }, box.toOpaque())
  }

  func join() { pthread_join(thread, nil) }
}

/// A flag that one thread sets and another sees.
final class Flag: @unchecked Sendable {
  private let word = UnsafeMutablePointer<UInt32>.allocate(capacity: 1)
  init() { word.initialize(to: 0) }
  deinit { word.deallocate() }
  var isSet: Bool { vos_load_acquire32(word) != 0 }
  func set() { vos_store_release32(word, 1) }
}

/// A pipe to sleep on.
final class Bell: @unchecked Sendable {
  private let ends: (read: Int32, write: Int32)

  init() {
    var numbers: [Int32] = [-1, -1]
    pipe(&numbers)
    _ = fcntl(numbers[1], F_SETFL, O_NONBLOCK)
    ends = (numbers[0], numbers[1])
  }

  deinit {
    close(ends.read)
    close(ends.write)
  }

  func ring() {
    var one: UInt8 = 1
    _ = write(ends.write, &one, 1)
  }

  /// False if nobody rang within a time in which a lost wake-up is the only explanation.
  func sleep(milliseconds: Int32 = 20000) -> Bool {
    var interest = pollfd(fd: ends.read, events: Int16(POLLIN), revents: 0)
    guard poll(&interest, 1, milliseconds) == 1 else { return false }
    var rings = [UInt8](repeating: 0, count: 4096)
    return read(ends.read, &rings, rings.count) > 0
  }
}

extension ServicePort {
  /// Adopts whatever waits to be adopted.
  mutating func adoptAll() {
    while let change = nextChange() {
      if case .died(let slice, let generation) = change { released(slice, generation: generation) }
    }
  }
}

struct Missing: Error {}

/// `#require` for values that cannot be copied, whose calls its macro cannot take apart.
func the<T>(_ value: T?) throws -> T {
  guard let value else { throw Missing() }
  return value
}
