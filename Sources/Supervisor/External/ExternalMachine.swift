// SPDX-License-Identifier: Apache-2.0
import LinuxSystem

/// The machine of a domain with an external monitor, as far as we see it: one socket for each end
/// of a channel, and the process that has connected to them.
///
/// Threats and answers:
///
/// | A program of the same user … | … gets |
/// |---|---|
/// | connects to an end that is taken | hung up on |
/// | connects beside the QEMU of this life, or while that of the last one lives | hung up on |
/// | sends anything, or hangs up | the end of the domain's life |
/// | does not read | its messages wait in its own connection; nobody else does |
final class ExternalMachine {
  let ends: [End]
  /// Where the device tree of its next life is.
  let treePath: String
  /// Who connected in this life; of the last life if nobody has yet.
  var process: ProcessIdentity?

  init(ends: [End], treePath: String) {
    self.ends = ends
    self.treePath = treePath
  }

  /// One end of a channel.
  final class End {
    let port: SystemLayout.Port
    let path: String
    let listener: OwnedDescriptor
    var connection: Connection?

    /// Listens at `path`, which only our own user can connect to.
    init(_ port: SystemLayout.Port, path: String) throws(SystemCallError) {
      self.port = port
      self.path = path
      listener = try UnixSocket.listen(path)
    }
  }

  /// A QEMU device at an end.
  final class Connection {
    private let socket: MessageSocket
    private var session: IvshmemSession
    var watch: EventLoop.Watch?

    init(_ socket: consuming OwnedDescriptor, peer: UInt32) {
      self.socket = MessageSocket(owning: socket)
      session = IvshmemSession(peer: peer)
    }

    var descriptor: Int32 { socket.descriptor.rawValue }

    /// Whether something waits to be sent.
    var isSending: Bool { session.next != nil }

    /// Sends what goes now.
    ///
    /// - Returns: false if the client is lost.
    func flush(_ channel: ChannelResources) -> Bool {
      while let message = session.next {
        do throws(SystemCallError) {
          // A UNIX socket takes eight bytes whole or not at all.
          try socket.send(message.bytes, descriptors: channel.descriptors(for: message))
        } catch {
          return error.errno == .wouldBlock || error.errno == .resourceTemporarilyUnavailable
        }
        session.advance()
      }
      return true
    }

    /// Whether the client is there and silent, as it ought to be.
    func isWell() -> Bool {
      var bytes: [UInt8] = []
      return socket.descriptor.readAvailable(into: &bytes, maximum: 1) == .wouldBlock
    }
  }
}

extension ChannelResources {
  fileprivate func descriptors(for message: IvshmemMessage) -> [Int32] {
    switch message.attachment {
    case .region: [region.rawValue]
    case .bell(let peer): [bell(peer)]
    case nil: []
    }
  }
}
