// SPDX-License-Identifier: Apache-2.0
public import DeviceModel

/// What an MSI or MSI-X model asks of its interrupt sink after the guest wrote a register.
public struct VectorChange: Equatable, Sendable {
  public let vector: Int
  /// Where the vector points now; `nil` while it is masked or off.
  public let message: InterruptMessage?
  /// The vector was pending and is unmasked now: raise it once, after `message` is in place.
  public let raise: Bool

  public init(vector: Int, message: InterruptMessage?, raise: Bool = false) {
    self.vector = vector
    self.message = message
    self.raise = raise
  }
}

extension MessageInterruptSink {
  /// Carries out `changes` in order.
  public func apply(_ changes: [VectorChange]) {
    for change in changes {
      configure(vector: change.vector, message: change.message)
      if change.raise { raise(vector: change.vector) }
    }
  }
}

/// What became of each vector: the state that MSI and MSI-X share.
struct VectorStates: Sendable {
  private(set) var messages: [InterruptMessage?]
  private(set) var pending: [Bool]

  init(count: Int) {
    messages = [InterruptMessage?](repeating: nil, count: count)
    pending = [Bool](repeating: false, count: count)
  }

  /// Takes the message that the registers give `vector` now; `nil` if nothing changed.
  mutating func update(_ vector: Int, to message: InterruptMessage?) -> VectorChange? {
    guard messages[vector] != message else { return nil }
    messages[vector] = message
    let raise = message != nil && pending[vector]
    if raise { pending[vector] = false }
    return VectorChange(vector: vector, message: message, raise: raise)
  }

  /// Whether an interrupt goes out now. If not it is kept as pending, when `enabled`.
  mutating func signal(_ vector: Int, enabled: Bool) -> Bool {
    guard messages.indices.contains(vector) else { return false }
    if messages[vector] != nil { return true }
    if enabled { pending[vector] = true }
    return false
  }

  mutating func clearPending() {
    for vector in pending.indices { pending[vector] = false }
  }
}
