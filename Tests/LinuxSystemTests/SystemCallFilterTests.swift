// SPDX-License-Identifier: Apache-2.0
import LinuxSystem
import Testing

@Suite struct SystemCallFilterTests {
  private typealias Condition = SystemCallFilter.Test

  private func interpreter(
    _ rules: SystemCallFilter.Rule..., refusal: SystemCallFilter.Refusal = .killProcess
  ) throws -> FilterInterpreter {
    FilterInterpreter(program: try SystemCallFilter(rules, refusal: refusal).assembled())
  }

  @Test func anEmptyListRefusesEverything() throws {
    let filter = try interpreter()
    for number: Int32 in [0, 1, 59, 231, -1, .max, .min] {
      #expect(try filter.verdict(number) == FilterInterpreter.killProcess)
    }
  }

  @Test func whatIsListedIsAllowedAndNothingElse() throws {
    let filter = try interpreter(.init(1), .init(3), .init(231))
    let allowed = try (0..<500).filter { try filter.allows($0) }
    #expect(allowed == [1, 3, 231])
  }

  @Test func otherArchitecturesAreRefused() throws {
    let filter = try interpreter(.init(1))
    for architecture in [DescribedCall.i386, 0, 0xC000_00B7 /* AArch64 */] {
      let call = DescribedCall(number: 1, architecture: architecture)
      #expect(try filter.run(call).verdict == FilterInterpreter.killProcess)
    }
    #expect(try !filter.allows(1 | 0x4000_0000), "x32")
  }

  @Test func anArgumentIsOneOfItsValues() throws {
    let filter = try interpreter(
      .init(16, Condition(1, isOneOf: [0xAE80, 0x4020_AE46, 7])), .init(3))
    for value: UInt64 in [0xAE80, 0x4020_AE46, 7] { #expect(try filter.allows(16, 99, value)) }
    for value: UInt64 in [0, 0xAE81, 0xAE80 << 8, 8] { #expect(try !filter.allows(16, 7, value)) }
    // The kernel takes 32 bits of it.
    #expect(try filter.allows(16, 0, 0xFFFF_FFFF_0000_AE80))
    #expect(try filter.allows(3, 0, 0))
  }

  @Test func allTestsMustHold() throws {
    let filter = try interpreter(
      .init(9, Condition(2, mask: ~3, isOneOf: [0]), Condition(3, mask: 0x20, isOneOf: [0x20])),
      .init(1))
    #expect(try filter.allows(9, 0, 4096, 3, 0x22))
    #expect(try !filter.allows(9, 0, 4096, 7, 0x22))
    #expect(try !filter.allows(9, 0, 4096, 3, 0x02))
    #expect(try !filter.allows(9, 0, 4096, 4, 0x01))
    #expect(try filter.allows(1, 0, 0, 7))
  }

  @Test func aTestWithoutValuesNeverHolds() throws {
    let filter = try interpreter(.init(9, Condition(0, isOneOf: [])))
    #expect(try !filter.allows(9, 0))
  }

  @Test func eachArgumentIsFound() throws {
    for index in 0..<6 {
      let filter = try interpreter(.init(9, Condition(index, isOneOf: [42])))
      var arguments = [UInt64](repeating: 41, count: 6)
      let others = DescribedCall(number: 9, arguments: arguments)
      #expect(try filter.run(others).verdict == FilterInterpreter.killProcess)
      arguments[index] = 42
      let meant = DescribedCall(number: 9, arguments: arguments)
      #expect(try filter.run(meant).verdict == FilterInterpreter.allow)
    }
  }

  @Test func refusalsMayBeLoggedInstead() throws {
    let filter = try interpreter(.init(1), refusal: .log)
    #expect(try filter.verdict(2) == FilterInterpreter.log)
    #expect(try filter.allows(1))
  }

  @Test func whatDoesNotFitIsAnError() {
    let many = (0..<300 as Range<UInt32>).map { $0 }
    for rule: SystemCallFilter.Rule in [
      .init(1, Condition(0, isOneOf: many)), .init(1, Condition(6, isOneOf: [0])),
      .init(1, Condition(-1, isOneOf: [0])),
    ] {
      #expect(throws: SystemCallError.self) { try SystemCallFilter([rule]).assembled() }
    }
    let long = (0..<3000 as Range<Int32>).map { SystemCallFilter.Rule($0) }
    #expect(throws: SystemCallError.self) { try SystemCallFilter(long).assembled() }
  }
}
