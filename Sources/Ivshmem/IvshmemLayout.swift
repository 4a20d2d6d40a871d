// SPDX-License-Identifier: Apache-2.0
public import PCI

/// What an ivshmem function is made of, checked.
public struct IvshmemLayout: Equatable, Sendable {
  /// Bytes of the shared region: a power of two, at least a page.
  public let regionByteCount: UInt64
  /// This guest's own peer id.
  public let peer: UInt16
  /// Doorbell vectors on which this guest listens: 1 to 32.
  public let vectorCount: Int
  /// Vectors of each other peer.
  public let remotes: [UInt16: Int]
  /// What this guest may only read: whole pages, rising, apart.
  public let readOnly: [Range<UInt64>]

  /// Pages in which the region is split between writers.
  public static let pageByteCount: UInt64 = 4096
  /// Vectors that one peer can have.
  public static let maximumVectorCount = 32

  /// Throws if the parts do not fit together.
  public init(
    regionByteCount: UInt64, peer: UInt16, vectorCount: Int, remotes: [UInt16: Int],
    readOnly: [Range<UInt64>] = []
  ) throws(IvshmemError) {
    guard regionByteCount >= Self.pageByteCount, regionByteCount.nonzeroBitCount == 1 else {
      throw .regionByteCount(regionByteCount)
    }
    for (peer, count) in [(peer, vectorCount)] + remotes.map({ ($0.key, $0.value) }) {
      guard (1...Self.maximumVectorCount).contains(count) else {
        throw .vectorCount(peer: peer, count: count)
      }
    }
    guard remotes[peer] == nil else { throw .ownPeerIsRemote(peer) }
    var end: UInt64 = 0
    for range in readOnly {
      let aligned = (range.lowerBound | range.upperBound) % Self.pageByteCount == 0
      guard aligned, range.lowerBound >= end, !range.isEmpty, range.upperBound <= regionByteCount
      else { throw .readOnlyRange(range) }
      end = range.upperBound
    }
    self.regionByteCount = regionByteCount
    self.peer = peer
    self.vectorCount = vectorCount
    self.remotes = remotes
    self.readOnly = readOnly
  }

  /// The region as memory slots: read-only ranges and what lies between them, in rising order.
  var directRanges: [DirectRange] {
    var ranges: [DirectRange] = []
    var next: UInt64 = 0
    func add(upTo end: UInt64, isReadOnly: Bool) {
      if end > next {
        ranges.append(
          DirectRange(offset: next, byteCount: end - next, isReadOnly: isReadOnly))
      }
      next = end
    }
    for range in readOnly {
      add(upTo: range.lowerBound, isReadOnly: false)
      add(upTo: range.upperBound, isReadOnly: true)
    }
    add(upTo: regionByteCount, isReadOnly: false)
    return ranges
  }
}

/// Why an ivshmem function cannot be built.
public enum IvshmemError: Error, Equatable, CustomStringConvertible {
  case regionByteCount(UInt64)
  case vectorCount(peer: UInt16, count: Int)
  case ownPeerIsRemote(UInt16)
  case readOnlyRange(Range<UInt64>)
  case pci(PCIError)

  public var description: String {
    switch self {
    case .regionByteCount(let count):
      "a shared region of \(count) bytes is not a power of two of at least one page"
    case .vectorCount(let peer, let count):
      "peer \(peer) cannot have \(count) doorbell vectors"
    case .ownPeerIsRemote(let peer): "peer \(peer) is the guest itself and another"
    case .readOnlyRange(let range):
      "read-only range \(range) is not whole pages, in order, within the region"
    case .pci(let error): "ivshmem function: \(error)"
    }
  }
}
