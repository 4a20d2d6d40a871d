// SPDX-License-Identifier: Apache-2.0
public import Foundation

/// Lines of a log that are shown when its step fails.
private let shownLogLines = 25

/// Runs a program to its end, all it writes going to `log`; throws when it does not exit with 0.
public func run(
  _ arguments: [String], directory: URL? = nil, environment: [String: String] = [:], log: URL,
  append: Bool = false
) throws {
  let descriptor = try openForWriting(log, append: append)
  defer { close(descriptor) }
  let child = try Child(
    arguments, directory: directory, environment: environment, output: .descriptor(descriptor),
    errors: .descriptor(descriptor))
  let code = try child.wait()
  guard code == 0 else {
    let tail = ((try? String(contentsOf: log, encoding: .utf8)) ?? "")
      .split(separator: "\n").suffix(shownLogLines).joined(separator: "\n")
    throw Failure(
      "\(arguments.prefix(3).joined(separator: " ")) exited with \(code); "
        + "last lines of \(log.path):\n\(tail)", log: log)
  }
}

/// Runs a program to its end and returns what it wrote to its standard output.
public func capture(
  _ arguments: [String], directory: URL? = nil, environment: [String: String] = [:]
) throws -> String {
  let (code, text) = try captureWithCode(arguments, directory: directory, environment: environment)
  guard code == 0 else { throw Failure("\(arguments.joined(separator: " ")) exited with \(code)") }
  return text
}

/// Runs a program to its end; returns its exit code and its standard output.
public func captureWithCode(
  _ arguments: [String], directory: URL? = nil, environment: [String: String] = [:]
) throws -> (code: Int32, output: String) {
  let pipe = Pipe()
  let child = try Child(
    arguments, directory: directory, environment: environment,
    output: .descriptor(pipe.fileHandleForWriting.fileDescriptor))
  try pipe.fileHandleForWriting.close()
  let data = try pipe.fileHandleForReading.readToEnd() ?? Data()
  return (try child.wait(), String(decoding: data, as: UTF8.self))
}

/// The program's path along PATH, or nil.
public func findProgram(_ name: String) -> String? {
  let path = ProcessInfo.processInfo.environment["PATH"] ?? "/usr/bin:/bin"
  // Debian keeps mke2fs, depmod and the like where only root's PATH looks.
  for folder in path.split(separator: ":").map(String.init) + ["/usr/sbin", "/sbin"] {
    let candidate = "\(folder)/\(name)"
    // SAFETY: the string outlives the call.
    if unsafe access(candidate, X_OK) == 0 { return candidate }
  }
  return nil
}

/// As `findProgram`, naming the package where the program is missing.
public func requireProgram(_ name: String, package: String) throws -> String {
  guard let path = findProgram(name) else {
    throw Failure("\(name) is missing: install the Debian package \(package)")
  }
  return path
}

/// The file's SHA-256 in hexadecimal.
public func sha256(of file: URL) throws -> String {
  let line = try capture(["sha256sum", file.path])
  guard let digest = line.split(separator: " ").first, digest.count == 64 else {
    throw Failure("sha256sum \(file.path) printed \"\(line)\"")
  }
  return String(digest)
}
