// SPDX-License-Identifier: Apache-2.0
public import CMicro

/// Vectors for devices: 0x40 to 0x4F.
public enum Interrupts {
  public static let firstVector: UInt8 = 0x40
  static let count = 16
  // One processor; handlers are set before interrupts are let in.
  nonisolated(unsafe) private static var handlers = InlineArray<16, (() -> Void)?>(repeating: nil)

  /// Runs `handler` in ring 0 on each interrupt `vector`, with interrupts off.
  public static func handle(_ vector: UInt8, _ handler: @escaping () -> Void) {
    guard vector >= firstVector, vector < firstVector + UInt8(count) else { return }
    unsafe handlers[Int(vector - firstVector)] = handler
  }

  static func dispatch(_ vector: UInt64) -> Bool {
    guard vector >= UInt64(firstVector), vector < UInt64(firstVector) + UInt64(count) else {
      return false
    }
    if let handler = unsafe handlers[Int(vector - UInt64(firstVector))] { handler() }
    LocalAPIC.acknowledge()
    return true
  }
}

/// Calls from ring 3.
private enum UserCall {
  static let leave: UInt64 = 0
  static let echo: UInt64 = 1
  static let sleep: UInt64 = 2
}

/// All interrupts, exceptions and calls arrive here, from entry.S.
@c(micro_interrupt)
public func interruptArrived(_ frame: UnsafeMutablePointer<micro_frame>) {
  // SAFETY: the stub's frame, on the stack of the interrupt, used by nobody else.
  let vector = unsafe frame.pointee.vector
  if Interrupts.dispatch(vector) { return }
  if unsafe frame.pointee.cs & 3 == 3 {
    let isCall = unsafe vector == invalidOpcode && frame.pointee.rip == micro_address_of_call_trap()
    if isCall { unsafe userCalled(frame) } else { unsafe userFailed(frame) }
  } else if vector < 32 {
    unsafe Console.line("FAIL " + describe(frame))
    powerOff()
  }
}

private let invalidOpcode: UInt64 = 6
private let trapByteCount: UInt64 = 2

@unsafe
private func userCalled(_ frame: UnsafeMutablePointer<micro_frame>) {
  // SAFETY: the stub's frame.
  unsafe frame.pointee.rip &+= trapByteCount
  let (number, argument) = unsafe (frame.pointee.rdi, frame.pointee.rsi)
  switch number {
  case UserCall.leave: micro_leave_user(Int64(bitPattern: argument))
  case UserCall.echo: unsafe frame.pointee.rax = argument &+ 1
  case UserCall.sleep:
    // Interrupts are off from the trap to the look, and let in by the sleep itself: none is lost.
    while micro_counted_interrupts() == argument {
      micro_wait()
      micro_interrupts_off()
    }
    unsafe frame.pointee.rax = 0
  default: unsafe frame.pointee.rax = .max
  }
}

@unsafe
private func userFailed(_ frame: UnsafeMutablePointer<micro_frame>) {
  // SAFETY: the stub's frame.
  guard unsafe frame.pointee.vector < 32 else { return }
  unsafe Console.line("INFO ring 3 stopped by " + describe(frame))
  micro_leave_user(UserFault.code(vector: unsafe frame.pointee.vector))
}

@unsafe
private func describe(_ frame: UnsafeMutablePointer<micro_frame>) -> String {
  // SAFETY: the stub's frame.
  let (vector, place, error) = unsafe (
    frame.pointee.vector, frame.pointee.rip, frame.pointee.error
  )
  return "exception \(vector) at \(hex(place)) error \(hex(error))"
}

/// How `UserMode.run` tells that ring 3 was stopped by an exception.
public enum UserFault {
  private static let base: Int64 = -0x1000

  static func code(vector: UInt64) -> Int64 { base - Int64(vector) }

  /// The exception's number; nil if `result` tells of none.
  public static func vector(of result: Int64) -> Int? {
    (base - 31...base).contains(result) ? Int(base - result) : nil
  }
}

/// Ring 3.
public enum UserMode {
  /// Runs `entry` in ring 3 with interrupts on, on a stack of its own, and returns its result or
  /// that of the exception that stopped it (`UserFault.vector`).
  ///
  /// `context` goes to `entry`; it must lie in memory that ring 3 may touch.
  @unsafe
  public static func run(
    _ entry: @convention(c) (UnsafeMutableRawPointer?) -> Int64,
    _ context: UnsafeMutableRawPointer? = nil
  ) -> Int64 {
    // SAFETY: a C function pointer is its address.
    let address = unsafe UInt64(UInt(bitPattern: unsafeBitCast(entry, to: UnsafeRawPointer.self)))
    return micro_enter_user(
      address, UInt64(UInt(bitPattern: context)), micro_address_of_user_stack_end())
  }

  /// Sleeps while the interrupts counted by `micro_count_interrupts` are `count`; for ring 3 alone.
  public static func sleep(whileInterruptsAre count: UInt64) {
    _ = micro_call(UserCall.sleep, count)
  }

  /// Asks ring 0 for `value + 1`; for ring 3 alone.
  public static func echo(_ value: UInt64) -> UInt64 {
    UInt64(bitPattern: micro_call(UserCall.echo, value))
  }
}

/// Called by entry.S before main.
@c(micro_prepare)
public func prepareMachine() {
  Console.prepare()
  Processor.prepare()
  Paging.prepare()
}
