// SPDX-License-Identifier: Apache-2.0
import DeviceModel
import Testing

@testable import Boot

/// Where each case stands in `samples`; a new case does not build until it has a place.
private func place(of error: BootError) -> Int {
  switch error {
  case .notAKernel: 0
  case .truncated: 1
  case .malformed: 2
  case .unsupported: 3
  case .commandLineTooLong: 4
  case .commandLineHoldsNUL: 5
  case .deviceTreeTooLarge: 6
  case .outOfMemory: 7
  case .tablesTooLarge: 8
  case .tooManyProcessors: 9
  case .unreadable: 10
  case .memory: 11
  }
}

private let samples: [BootError] = [
  .notAKernel(image: "k"), .truncated(image: "k", byteCount: 1, needed: 2),
  .malformed(image: "k", reason: "r"), .unsupported(image: "k", reason: "r"),
  .commandLineTooLong(byteCount: 3000, limit: 2047), .commandLineHoldsNUL,
  .deviceTreeTooLarge(byteCount: 2, limit: 1), .outOfMemory(what: "k", needed: 2, available: 1),
  .tablesTooLarge(byteCount: 2, limit: 1), .tooManyProcessors(count: 300, limit: 255),
  .unreadable(image: "k", reason: "r"), .memory(GuestMemoryError(address: 0, byteCount: 1)),
]

@Suite struct ErrorTests {
  @Test func everyCaseHasASample() {
    #expect(samples.map(place) == Array(0...11))
  }

  @Test(arguments: samples)
  func everyRefusalSaysWhatToDo(_ error: BootError) throws {
    let halves = error.description.split(separator: "; ", omittingEmptySubsequences: false)
    #expect(halves.count == 2, "one sentence of two halves: \(error)")
    let verb = try #require(halves.last?.split(separator: " ").first)
    #expect(
      ["give", "copy", "shorten", "remove", "check"].contains(String(verb)), "\(error)")
  }
}
