// SPDX-License-Identifier: Apache-2.0
import Foundation

/// The first message on a connection: what is asked. One connection carries one request.
public struct Request: Codable, Equatable, Sendable {
  public static let currentVersion = 1

  public var version = currentVersion
  public var command: Command

  public init(_ command: Command) {
    self.command = command
  }

  public enum Command: Codable, Equatable, Sendable {
    case status
    /// Take the system down; progress, then `done`.
    case down
    /// What a domain wrote to its console so far, and on if `follow`.
    case logs(domain: String, follow: Bool)
    /// Its console both ways.
    case console(domain: String)
    /// Run a program in a domain.
    case exec(Execution)
    /// A domain's device tree, as output.
    case deviceTree(domain: String)
  }
}

/// A program to run in a domain.
public struct Execution: Codable, Equatable, Sendable {
  public var domain: String
  public var arguments: [String]
  /// `NAME=value`
  public var environment: [String]
  /// Whether input frames follow; else standard input is empty.
  public var input: Bool

  public init(domain: String, arguments: [String], environment: [String], input: Bool) {
    self.domain = domain
    self.arguments = arguments
    self.environment = environment
    self.input = input
  }
}

/// Later messages of a client.
public enum ClientMessage: Codable, Equatable, Sendable {
  /// Send a signal to the program that `exec` started.
  case signal(Int32)
  /// Undo the `up` that this connection waits for.
  case cancel
}

/// What vosd answers.
public enum Reply: Codable, Equatable, Sendable {
  case progress(ProgressStep)
  case status(SystemStatus)
  /// Nothing more follows. `code` is the exit code of `exec`.
  case done(code: Int32?)
  case failure(Failure)
}

/// A step on the way up or down.
public struct ProgressStep: Codable, Equatable, Sendable {
  /// `nil` for the system itself.
  public var domain: String?
  /// One word: created, booting, ready, stopping, stopped, failed, device, repaired.
  public var state: String
  /// For people.
  public var detail: String?
  /// Since vosd was started.
  public var elapsedSeconds: Double

  public init(domain: String?, state: String, detail: String?, elapsedSeconds: Double) {
    self.domain = domain
    self.state = state
    self.detail = detail
    self.elapsedSeconds = elapsedSeconds
  }
}

/// Something that could not be done.
public struct Failure: Codable, Equatable, Error, Sendable, CustomStringConvertible {
  public enum Kind: String, Codable, Sendable {
    case failed
    case badRequest
    case notRunning
    case alreadyUp
    case notFound
    case notExecutable
    case cancelled
  }

  public var kind: Kind
  /// One sentence: what is wrong and what to do.
  public var message: String
  /// The last console lines of the domain it is about.
  public var console: [String]

  public init(_ kind: Kind, _ message: String, console: [String] = []) {
    self.kind = kind
    self.message = message
    self.console = console
  }

  public var description: String { message }
}

/// A system as `ps` shows it. Names of JSON keys are part of the interface: docs/vosctl.md.
public struct SystemStatus: Codable, Equatable, Sendable {
  public var system: String
  public var state: String
  public var manifest: String
  public var pid: Int32
  public var uptimeSeconds: Double
  public var domains: [DomainStatus]
  public var devices: [DeviceStatus]

  public struct DomainStatus: Codable, Equatable, Sendable {
    public var name: String
    /// `vosvmm` or `external`.
    public var monitor: String
    public var role: String
    public var state: String
    /// Why it failed.
    public var reason: String?
    public var pid: Int32?
    public var generation: UInt32
    public var cpus: Int
    public var memoryBytes: UInt64
    /// Resident memory of its monitor that is not shared: what it costs beyond guest RAM.
    public var overheadKiB: UInt64?
    public var uptimeSeconds: Double?
    public var bootSeconds: Double?
    /// By KVM's own count.
    public var exits: ExitCounts?
    public var devices: [String]
    public var channels: [ChannelStatus]
    /// Of a domain with an external monitor.
    public var external: ExternalStatus?
  }

  /// Where an external monitor finds what it needs.
  public struct ExternalStatus: Codable, Equatable, Sendable {
    /// The file with its device tree.
    public var tree: String
    public var sockets: [SocketStatus]
  }

  /// A socket that an external monitor's ivshmem-doorbell device connects to.
  public struct SocketStatus: Codable, Equatable, Sendable {
    public var channel: String
    /// `client` or `service`.
    public var side: String
    public var path: String
    /// Device number on the domain's PCI bus 0.
    public var slot: Int
    public var isConnected: Bool
  }

  /// A channel on which the domain is the client.
  public struct ChannelStatus: Codable, Equatable, Sendable {
    public var name: String
    public var service: String
    /// `sound`, or `broken`: one side saw the other break the protocol, and both are to let go.
    public var state: String
    /// How often it was made new after it was broken.
    public var renewals: Int
    public var clientState: String
    public var serviceState: String
    /// Calls over slots without a trap.
    public var fastCalls: UInt64
    /// Calls on remote descriptors that libvos let through to the kernel's path.
    public var fallbackCalls: UInt64
    /// Calls that the client's kernel itself issued.
    public var kernelCalls: UInt64
  }

  public struct DeviceStatus: Codable, Equatable, Sendable {
    public var address: String
    public var domain: String
    public var originalDriver: String?
  }
}

/// JSON in frames.
enum Wire {
  static func frame(_ message: some Encodable) -> Frame {
    // Encoding our own plain values cannot fail; an empty object would be refused by the peer.
    Frame(.message, [UInt8]((try? JSONEncoder().encode(message)) ?? Data("{}".utf8)))
  }

  static func decode<Message: Decodable>(_ type: Message.Type, _ frame: Frame) -> Message? {
    guard frame.kind == .message else { return nil }
    return try? JSONDecoder().decode(type, from: Data(frame.payload))
  }
}
