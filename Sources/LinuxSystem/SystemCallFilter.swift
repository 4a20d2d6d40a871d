// SPDX-License-Identifier: Apache-2.0
internal import CLinux
internal import Glibc

/// The system calls that a process may make from now on: an allow list, for seccomp(2).
///
/// A call of another architecture's table (32-bit, x32) is refused like any that is not in the list.
public struct SystemCallFilter: Equatable, Sendable {
  /// What becomes of a call that is not allowed.
  public enum Refusal: Equatable, Sendable {
    /// The whole process dies of SIGSYS, whatever handlers it has.
    case killProcess
    /// The call is made, and the kernel's log tells of it: to find out what a list lacks.
    case log
  }

  /// A condition on one argument: its low 32 bits, masked, are one of `values`.
  ///
  /// For arguments that the kernel takes as an `int`, and for the low flags of a longer one; the high
  /// 32 bits are not looked at.
  public struct Test: Equatable, Sendable {
    /// 0 to 5.
    public let argument: Int
    public let mask: UInt32
    public let values: [UInt32]

    public init(_ argument: Int, mask: UInt32 = .max, isOneOf values: [UInt32]) {
      self.argument = argument
      self.mask = mask
      self.values = values
    }
  }

  /// An allowed call; all of its tests must hold.
  public struct Rule: Equatable, Sendable {
    /// The call's number on x86-64 (`__NR_read` and so on).
    public let number: Int32
    public let tests: [Test]

    public init(_ number: Int32, _ tests: Test...) {
      self.number = number
      self.tests = tests
    }
  }

  /// In the order in which they are looked for: the most frequent first.
  public let rules: [Rule]
  public let refusal: Refusal

  public init(_ rules: [Rule], refusal: Refusal = .killProcess) {
    self.rules = rules
    self.refusal = refusal
  }
}

/// One instruction of the kernel's classic BPF machine: `struct sock_filter`.
public struct FilterInstruction: Equatable, Sendable {
  public let code: UInt16
  /// Instructions that a comparison skips if it holds.
  public let skipIfTrue: UInt8
  /// And if it does not.
  public let skipIfFalse: UInt8
  public let constant: UInt32
}

extension SystemCallFilter {
  /// The list as a program, which gives a verdict on each `struct seccomp_data`.
  ///
  /// Throws `EINVAL` for an argument that calls do not have, `E2BIG` if a jump or the whole is too long.
  public func assembled() throws(SystemCallError) -> [FilterInstruction] {
    var program: [FilterInstruction] = [
      .load(CLINUX_SECCOMP_ARCHITECTURE),
      try .skip(ifEqual: CLINUX_AUDIT_ARCH_X86_64, 1, else: 0),
      verdictOnOthers,
      .load(CLINUX_SECCOMP_NUMBER),
    ]
    for rule in rules {
      let body = try assemble(rule)
      program.append(
        try .skip(ifEqual: UInt32(bitPattern: rule.number), 0, else: body.count))
      program += body
    }
    program.append(verdictOnOthers)
    guard program.count <= Int(CLINUX_BPF_LIMIT) else {
      throw SystemCallError("assemble a filter", errno: .init(rawValue: E2BIG))
    }
    return program
  }

  /// What follows once the number fits. It always ends in a verdict, so it may load another word.
  private func assemble(_ rule: Rule) throws(SystemCallError) -> [FilterInstruction] {
    var body: [FilterInstruction] = []
    for test in rule.tests {
      guard (0..<6).contains(test.argument) else {
        throw SystemCallError("test argument \(test.argument)", errno: .invalidArgument)
      }
      body.append(.load(CLINUX_SECCOMP_ARGUMENTS + 8 * test.argument))
      if test.mask != .max { body.append(.and(test.mask)) }
      // Each comparison that holds skips the others and the refusal behind them.
      for (index, value) in test.values.enumerated() {
        body.append(try .skip(ifEqual: value, test.values.count - index, else: 0))
      }
      body.append(verdictOnOthers)
    }
    return body + [.verdict(UInt32(SECCOMP_RET_ALLOW))]
  }

  private var verdictOnOthers: FilterInstruction {
    switch refusal {
    case .killProcess: .verdict(UInt32(SECCOMP_RET_KILL_PROCESS))
    case .log: .verdict(UInt32(SECCOMP_RET_LOG))
    }
  }

  /// Binds all threads of this process, for good. New privileges must have been given up.
  public func install() throws(SystemCallError) {
    let program = try assembled().map {
      sock_filter(code: $0.code, jt: $0.skipIfTrue, jf: $0.skipIfFalse, k: $0.constant)
    }
    try retrying("filter system calls") {
      // SAFETY: the array outlives the call, which reads as many instructions as it has.
      unsafe clinux_install_filter(program, UInt16(program.count))
    }
  }
}

extension FilterInstruction {
  fileprivate static func load(_ offset: Int) -> FilterInstruction {
    FilterInstruction(
      code: CLINUX_BPF_LOAD, skipIfTrue: 0, skipIfFalse: 0, constant: UInt32(offset))
  }

  fileprivate static func and(_ mask: UInt32) -> FilterInstruction {
    FilterInstruction(code: CLINUX_BPF_AND, skipIfTrue: 0, skipIfFalse: 0, constant: mask)
  }

  fileprivate static func verdict(_ value: UInt32) -> FilterInstruction {
    FilterInstruction(code: CLINUX_BPF_RETURN, skipIfTrue: 0, skipIfFalse: 0, constant: value)
  }

  fileprivate static func skip(
    ifEqual value: UInt32, _ yes: Int, else no: Int
  ) throws(SystemCallError) -> FilterInstruction {
    guard let yes = UInt8(exactly: yes), let no = UInt8(exactly: no) else {
      throw SystemCallError("assemble a filter's jump", errno: .init(rawValue: E2BIG))
    }
    return FilterInstruction(
      code: CLINUX_BPF_JUMP_IF_EQUAL, skipIfTrue: yes, skipIfFalse: no, constant: value)
  }
}
