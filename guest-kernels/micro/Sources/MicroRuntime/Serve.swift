// SPDX-License-Identifier: Apache-2.0
public import Channel

/// Looks at the slice table once in so many looks at the slots.
private let looksBetweenTables = 4096

/// Serves a channel in ring 3, spinning, until `answer` says that a request was the last one.
///
/// `answer` completes each request. Returns the number of calls served.
public func serve(
  _ region: ChannelRegion, _ answer: (Request, borrowing ServicePort) -> Bool
) -> Int64 {
  var port = ServicePort(region: region)
  region.page(of: .service).announce(.ready, generation: 1)
  var served: Int64 = 0
  while true {
    while port.nextChange() != nil {}
    for _ in 0..<looksBetweenTables {
      guard let request = port.next() else { continue }
      served += 1
      if answer(request, port) { return served }
    }
  }
}
