// SPDX-License-Identifier: Apache-2.0
import Foundation
import Glibc
public import LinuxSystem
import SystemPackage

/// Why a journal cannot be written or read.
public enum JournalError: Error, Equatable, CustomStringConvertible {
  case write(SystemCallError)
  /// The file is none of ours, or damaged.
  case unreadable(path: String, reason: String)

  public var description: String {
    switch self {
    case .write(let error): "cannot write the journal: \(error.sentence)"
    case .unreadable(let path, let reason):
      "journal \(path) cannot be read (\(reason)); see which devices \"vosctl devices\" shows with "
        + "driver vfio-pci, give them back, then remove the journal's directory"
    }
  }
}

/// What must be undone if we die now: written *before* each change, so that the next `vosctl` finds
/// it after a `kill -9` of anybody.
public struct JournalRecord: Codable, Equatable, Sendable {
  public static let currentVersion = 1

  public var version = currentVersion
  public var system: String
  public var manifest: String
  public var daemon: ProcessIdentity
  public var monitors: [Monitor] = []
  public var devices: [Device] = []

  /// A monitor that was started.
  public struct Monitor: Codable, Equatable, Sendable {
    public var domain: String
    public var generation: UInt32
    public var process: ProcessIdentity
  }

  /// A device that is, or is about to be, taken from its driver.
  public struct Device: Codable, Equatable, Sendable {
    /// `0000:01:00.0`
    public var address: String
    /// The domain that gets it.
    public var domain: String
    /// The driver it had, `nil` if none.
    public var originalDriver: String?
    /// Its `driver_override` as it was, `nil` if none.
    public var originalOverride: String?

    public init(
      address: String, domain: String, originalDriver: String?, originalOverride: String?
    ) {
      self.address = address
      self.domain = domain
      self.originalDriver = originalDriver
      self.originalOverride = originalOverride
    }
  }

  public init(system: String, manifest: String, daemon: ProcessIdentity) {
    self.system = system
    self.manifest = manifest
    self.daemon = daemon
  }
}

/// The journal's file. Each write replaces it whole: written aside, synced, renamed, directory
/// synced; a reader sees the old record or the new one, never a part.
public struct Journal: Sendable {
  public static let fileName = "journal.json"
  public static let temporaryName = "journal.json.new"
  /// Larger than any system's record; a larger file is not ours.
  static let maximumBytes = 1 << 20

  public let directory: String

  public init(directory: String) {
    self.directory = directory
  }

  private var path: String { directory + "/" + Self.fileName }

  /// Makes `record` the one that a later run finds.
  public func write(_ record: JournalRecord) throws(JournalError) {
    let encoder = JSONEncoder()
    encoder.outputFormatting = [.prettyPrinted, .sortedKeys]
    guard let data = try? encoder.encode(record) else {
      throw .unreadable(path: path, reason: "record cannot be encoded")
    }
    do throws(SystemCallError) {
      try replace(with: [UInt8](data))
    } catch {
      throw .write(error)
    }
  }

  private func replace(with bytes: [UInt8]) throws(SystemCallError) {
    let temporary = directory + "/" + Self.temporaryName
    let file = try OwnedDescriptor.open(
      temporary, flags: O_WRONLY | O_CREAT | O_TRUNC | O_NOFOLLOW, mode: 0o600)
    try file.write(all: bytes)
    guard fsync(file.rawValue) == 0 else {
      throw SystemCallError("sync \(temporary)", errno: currentErrno())
    }
    // SAFETY: the strings outlive the call.
    guard unsafe rename(temporary, path) == 0 else {
      throw SystemCallError("rename \(temporary)", errno: currentErrno())
    }
    let folder = try OwnedDescriptor.open(directory, flags: O_DIRECTORY)
    guard fsync(folder.rawValue) == 0 else {
      throw SystemCallError("sync \(directory)", errno: currentErrno())
    }
  }

  /// The record as it was last written; `nil` if there is none.
  public func read() throws(JournalError) -> JournalRecord? {
    let file: OwnedDescriptor
    do throws(SystemCallError) {
      file = try OwnedDescriptor.open(path, flags: O_NOFOLLOW)
    } catch {
      if error.errno == .noSuchFileOrDirectory { return nil }
      throw .unreadable(path: path, reason: "\(error)")
    }
    guard let text = contents(of: file) else {
      throw .unreadable(path: path, reason: "larger than \(Self.maximumBytes) bytes")
    }
    do {
      let record = try JSONDecoder().decode(JournalRecord.self, from: Data(text))
      guard record.version == JournalRecord.currentVersion else {
        throw JournalError.unreadable(
          path: path, reason: "version \(record.version), expected \(JournalRecord.currentVersion)")
      }
      return record
    } catch let error as JournalError {
      throw error
    } catch {
      throw .unreadable(path: path, reason: "it is damaged")
    }
  }

  private func contents(of file: borrowing OwnedDescriptor) -> [UInt8]? {
    var bytes: [UInt8] = []
    while let part = try? file.read(maximum: 64 << 10), !part.isEmpty {
      bytes += part
      if bytes.count > Self.maximumBytes { return nil }
    }
    return bytes
  }
}
