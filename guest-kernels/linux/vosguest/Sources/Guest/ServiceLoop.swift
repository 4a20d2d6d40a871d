// SPDX-License-Identifier: Apache-2.0
import CVosABI
import Channel
import Glibc
import Synchronization

/// What a service does with calls. All methods may be called by any of the loop's threads.
protocol ServiceHandler: AnyObject, Sendable {
  /// Whether the call may wait for a disk or the like: then another thread polls meanwhile.
  func mayBlock(_ call: Call) -> Bool
  /// Executes a call. `nil`: it is answered later by `ServiceLoop.finish`.
  ///
  /// - Parameter bytes: the call's window; the client may change it at any time.
  func handle(_ request: Request, _ bytes: UnsafeMutableRawBufferPointer) -> Reply?
  /// A process took a slice.
  func adopted(_ slice: Int, generation: UInt32)
  /// A slice's process is gone: let go of all it held and answer what is parked. May be called
  /// more than once.
  func died(_ slice: Int, generation: UInt32)
}

/// Serves a channel: one thread at a time polls (the leader). A call that may block it executes
/// itself only if another thread can take the lead; threads are started up to a bound for that, and
/// beyond it calls are queued for whoever is done first; they end when they were idle for long. So there is always one that polls: a disk
/// that hangs holds neither other calls that never block, nor deaths of slices, nor the heartbeat,
/// which says that the daemon lives and not how its disk is.
///
/// Lock order: lead, then pool; lead, then events.
@safe
final class ServiceLoop: @unchecked Sendable {
  // @unchecked: `port` and the counters belong to the leader, who holds `lead`.

  /// Most milliseconds of a sleep, which is also the heartbeat's period at rest.
  private static let napMilliseconds: Int32 = 100
  private static let beatMilliseconds: UInt64 = 50
  /// Looks at the slice table once in so many looks at slots.
  private static let tableInterval: UInt32 = 256

  private struct Pool {
    /// Threads there are, the leader among them.
    var threads = 1
    /// Those that wait for the lead, or are about to, and are not to have it next.
    var followers = 0
    /// Calls that no thread was free for: at most one of each slot.
    var queue: CallQueue<Request>
  }

  /// Why a loop ended.
  enum End: Equatable {
    /// As asked.
    case stopped
    case deviceGone
    /// The host has ended this life of the channel.
    case lifeEnded
    /// The channel is declared broken: the client did what the protocol does not allow.
    case broken(ProtocolFault)
  }

  let device: any ServiceDevice
  private let handler: any ServiceHandler
  private let lead = UnsafeMutablePointer<pthread_mutex_t>.allocate(capacity: 1)
  private var port: ServicePort
  private let completer: ServiceCompleter
  private let events: Mutex<EventProducer>
  private let pool: Mutex<Pool>
  private let stopping = Atomic<Bool>(false)
  private let running = Atomic<Int>(0)
  private var dying: [(slice: Int, generation: UInt32)] = []
  private var patience: Patience
  private var looks: UInt32 = 0
  private var lastBeat: UInt64 = 0
  private var watch: ChannelWatch?
  private var end = End.stopped
  private let isConcluding = Atomic<Bool>(false)
  private let isConcluded = Atomic<Bool>(false)
  private let lifeOver: @Sendable (End) -> Void
  private let threads: Int
  private let idleSeconds: Int

  /// - Parameters:
  ///   - threads: most threads, of which one polls; with 1 that one executes all calls.
  ///   - idleSeconds: after so long a thread that has nothing to do ends.
  ///   - limits: how long it may look for work before it sleeps.
  ///   - lifeOver: to end the process when this life of the channel is over, from any thread: the
  ///     others may hang in calls.
  init(
    _ device: any ServiceDevice, _ handler: any ServiceHandler, threads: Int = 1,
    idleSeconds: Int = 10, limits: WaitPolicy.Limits = Patience.limits(),
    lifeOver: @escaping @Sendable (End) -> Void = { _ in }
  ) {
    self.lifeOver = lifeOver
    self.device = device
    self.handler = handler
    self.threads = threads
    self.idleSeconds = idleSeconds
    patience = Patience(limits)
    pool = Mutex(Pool(queue: CallQueue(slices: device.region.geometry.sliceCount)))
    port = ServicePort(region: device.region)
    completer = port.completer
    events = Mutex(EventProducer(region: device.region))
    // SAFETY: allocated for one mutex, which is never moved and never freed: the loop lives as long
    // as the daemon.
    unsafe pthread_mutex_init(lead, nil)
  }

  /// Announces readiness and serves until `stop`, until the device is gone, or until this life of
  /// the channel is over. After the last, calls may still be under way, and the process must end.
  @discardableResult
  func run() -> End {
    let now = System.milliseconds()
    guard let life = ChannelWatch(region: device.region, side: .service, milliseconds: now) else {
      return .lifeEnded
    }
    let page = device.region.page(of: .service)
    // What a predecessor took and did not answer is answered before anybody hears of us.
    upkeep()
    port.answerOrphans(refused: postCompletion)
    page.announce(.ready, generation: life.generation)
    watch = life
    device.ring(VOS_PEER_CLIENT)
    device.ring(VOS_PEER_HOST)
    running.add(1, ordering: .relaxed)
    // SAFETY: `lead` is initialized, and this thread does not hold it.
    unsafe pthread_mutex_lock(lead)
    serve()
    while running.load(ordering: .acquiring) > 0, !isConcluded.load(ordering: .acquiring) {
      System.sleep(milliseconds: 1)
    }
    if isConcluded.load(ordering: .acquiring) { return end }
    page.announce(.stopping, generation: page.generation)
    return end
  }

  func stop() { stopping.store(true, ordering: .releasing) }

  /// Answers a request, from any thread, and wakes a caller that sleeps.
  func finish(_ request: Request, _ reply: Reply) {
    if completer.complete(request, reply) { postCompletion(request.slice, request.slot) }
  }

  /// The window of a request that is not answered yet.
  func bytes(_ request: Request) -> UnsafeMutableRawBufferPointer {
    // SAFETY: the request is not answered yet: its window is still the call's.
    unsafe completer.bytes(request)
  }

  /// Tells the client's kernel, with one doorbell.
  func post(_ batch: some Sequence<ChannelEvent>) {
    events.withLock { for event in batch { $0.post(event) } }
    device.ring(VOS_PEER_CLIENT)
  }

  /// Leads until the end, or until this thread is one too many; called with the lead.
  private func serve() {
    while !stopping.load(ordering: .acquiring) {
      if let request = nextRequest() {
        patience.found()
        if threads > 1, handler.mayBlock(request.call) {
          guard pass(request) else { return }
        } else {
          execute(request)
        }
      } else if !rest() {
        end = .deviceGone
        stop()
      }
    }
    // SAFETY: this thread holds `lead`: it was called with it.
    unsafe pthread_mutex_unlock(lead)
    conclude()
    running.subtract(1, ordering: .releasing)
  }

  private var isLifeOver: Bool { end != .stopped && end != .deviceGone }

  /// What the last leader does when the channel's life is over, while others may hang in calls.
  private func conclude() {
    guard isLifeOver, !isConcluding.exchange(true, ordering: .acquiringAndReleasing) else { return }
    if case .broken = end, let watch { ServiceLife.declareBroken(device, watch) }
    isConcluded.store(true, ordering: .releasing)
    lifeOver(end)
  }

  /// What becomes of a call that may block.
  private enum Way {
    case elsewhere  // another thread can lead: we execute it
    case later  // all threads are busy: whoever is done first executes it
    case here  // there are no threads to have
  }

  /// False if this thread is to end.
  private func pass(_ request: Request) -> Bool {
    switch way(for: request) {
    case .later: break
    case .here: execute(request)
    case .elsewhere:
      // SAFETY: this thread holds `lead`: it leads.
      unsafe pthread_mutex_unlock(lead)
      execute(request)
      while let next = nextQueued() { execute(next) }
      return follow()
    }
    return true
  }

  private func way(for request: Request) -> Way {
    pool.withLock { pool in
      if pool.followers > 0 || addFollower(&pool) {
        pool.followers -= 1
        pool.queue.note(request.slice)
        return .elsewhere
      }
      guard pool.threads > 1 else { return .here }
      pool.queue.append(request, of: request.slice)
      return .later
    }
  }

  private func addFollower(_ pool: inout Pool) -> Bool {
    guard pool.threads < threads, startFollower() else { return false }
    pool.threads += 1
    pool.followers += 1
    return true
  }

  private func startFollower() -> Bool {
    running.add(1, ordering: .relaxed)
    let isStarted = System.startThread { if self.follow() { self.serve() } }
    if !isStarted { running.subtract(1, ordering: .relaxed) }
    return isStarted
  }

  /// A call that waits for a thread. With none left the caller counts as a follower in the same
  /// moment: nothing is queued that nobody will look at.
  private func nextQueued() -> Request? {
    pool.withLock { pool in
      if let call = pool.queue.take() { return call }
      pool.followers += 1
      return nil
    }
  }

  /// Waits for the lead. False, once there is one follower too many for long: it is to end.
  private func follow() -> Bool {
    while true {
      var end = timespec()
      // SAFETY: a local that the call fills; `lead` is initialized, and this thread does not hold it.
      unsafe clock_gettime(CLOCK_REALTIME, &end)
      end.tv_sec += idleSeconds
      if unsafe pthread_mutex_timedlock(lead, &end) == 0 { return true }
      // With none left it is the one that the leader goes away for.
      let isSpare = pool.withLock { pool in
        guard pool.followers > 0 else { return false }
        pool.followers -= 1
        pool.threads -= 1
        return true
      }
      if isSpare {
        running.subtract(1, ordering: .releasing)
        return false
      }
    }
  }

  /// How many threads there are.
  var threadCount: Int { pool.withLock { $0.threads } }

  private func nextRequest() -> Request? {
    looks &+= 1
    if looks % Self.tableInterval == 1 { upkeep() }
    return port.next(refused: postCompletion)
  }

  private func postCompletion(_ slice: Int, _ slot: Int) {
    post(CollectionOfOne(.completion(slice: UInt32(slice), slot: UInt32(slot))))
  }

  private func execute(_ request: Request) {
    // SAFETY: the port handed the request out with a checked window, and it is not answered yet.
    if let reply = unsafe handler.handle(request, completer.bytes(request)) {
      finish(request, reply)
    }
  }

  /// Nothing to do: pause, yield or sleep. False if the device is gone.
  private func rest() -> Bool {
    switch patience.next() {
    case .spin:
      vos_pause()
      return true
    case .yield:
      sched_yield()
      return true
    case .sleep: return sleep()
    }
  }

  private func sleep() -> Bool {
    upkeep()
    guard port.prepareToSleep() else { return true }
    let here = device.wait(milliseconds: dying.isEmpty ? Self.napMilliseconds : 1)
    port.wakeUp()
    upkeep()
    return here
  }

  /// The slice table, deaths, the heartbeat.
  private func upkeep() {
    let now = System.milliseconds()
    if now &- lastBeat >= Self.beatMilliseconds {
      lastBeat = now
      device.region.page(of: .service).beat()
      judge(now)
    }
    while let change = port.nextChange() {
      switch change {
      case .adopted(let slice, let generation): handler.adopted(slice, generation: generation)
      case .died(let slice, let generation):
        handler.died(slice, generation: generation)
        dying.append((slice, generation))
      }
    }
    if !dying.isEmpty { bury() }
  }

  /// Whether this life of the channel goes on.
  private func judge(_ now: UInt64) {
    guard watch != nil else { return }
    if let fault = events.withLock({ $0.fault }) {
      end = .broken(fault)
    } else if device.region.page(of: .service).state != .ready {
      end = .broken(.page)
    } else {
      switch watch?.look(milliseconds: now) {
      case .sound, nil: return
      case .ended: end = .lifeEnded
      case .broken(let fault): end = .broken(fault)
      }
    }
    stop()
  }

  /// Releases dead slices of which no call is under way any more; a call that was may have made
  /// something meanwhile, so the handler is told once more.
  private func bury() {
    dying.removeAll { slice, generation in
      guard port.isIdle(slice) else { return false }
      handler.died(slice, generation: generation)
      port.released(slice, generation: generation)
      return true
    }
  }
}
