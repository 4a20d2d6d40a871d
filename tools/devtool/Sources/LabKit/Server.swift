// SPDX-License-Identifier: Apache-2.0
public import Foundation

/// One HTTP/1.0 answer on standard input and output: the server outside the lab, once a connection.
public enum Server {
  private static let requestLimit = 16 << 10

  /// Reads a request and answers with `file`, whatever path was asked for.
  public static func serve(_ file: URL) throws {
    let request = try readRequest()
    let method = request.split(separator: " ").first.map(String.init) ?? ""
    guard ["GET", "HEAD"].contains(method) else {
      return try send(Data("HTTP/1.0 405 Method Not Allowed\r\nContent-Length: 0\r\n\r\n".utf8))
    }
    let body = try Data(contentsOf: file)
    let head =
      "HTTP/1.0 200 OK\r\nServer: vos-lab\r\nContent-Type: application/octet-stream\r\n"
      + "Content-Length: \(body.count)\r\nConnection: close\r\n\r\n"
    try send(Data(head.utf8))
    if method == "GET" { try send(body) }
  }

  private static func readRequest() throws -> String {
    var request = Data()
    let end = Data("\r\n\r\n".utf8)
    while request.range(of: end) == nil {
      let more = FileHandle.standardInput.availableData
      guard !more.isEmpty else { throw Failure("the request ended early") }
      request += more
      guard request.count <= requestLimit else { throw Failure("the request is too long") }
    }
    return String(decoding: request, as: UTF8.self)
  }

  private static func send(_ data: Data) throws {
    try FileHandle.standardOutput.write(contentsOf: data)
  }
}
