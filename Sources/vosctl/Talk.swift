// SPDX-License-Identifier: Apache-2.0
import ArgumentParser
import Glibc
import LinuxSystem
import Supervisor

struct LogsCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "logs", abstract: "Shows what a domain wrote to its console.",
    discussion: """
      The last mebibyte is kept while the system is up.

        vosctl logs -f primary
      """)

  @OptionGroup var target: SystemOptions

  @Flag(name: .shortAndLong, help: "Go on as the domain writes; ^C to leave.")
  var follow = false

  @Argument(help: "The domain.")
  var domain: String

  func run() throws {
    let client = try target.connect()
    client.send(.logs(domain: domain, follow: follow))
    while true {
      switch client.receive() {
      case .output(let bytes): Terminal.write(bytes, to: STDOUT_FILENO)
      case .reply(.done): return
      case .reply(.failure(let failure)): throw failure
      case .reply, .error: break
      // The system went down while we followed.
      case .closed: return
      }
    }
  }
}

struct ConsoleCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "console", abstract: "Joins a domain's console; ^] leaves it.",
    discussion: "vosctl console primary")

  @OptionGroup var target: SystemOptions

  @Argument(help: "The domain.")
  var domain: String

  func run() throws {
    let client = try target.connect()
    client.send(.console(domain: domain))
    if Terminal.isScreen(STDIN_FILENO) {
      Terminal.write("console of \(domain); ^] leaves it\r\n", to: STDERR_FILENO)
    }
    try RawTerminal.with { try converse(client) }
    if Terminal.isScreen(STDIN_FILENO) { Terminal.write("\r\n", to: STDERR_FILENO) }
  }

  /// ^]
  private static let leave: UInt8 = 0x1d

  private func converse(_ client: ControlClient) throws {
    var inputEnded = false
    while true {
      while let incoming = client.next() {
        switch incoming {
        case .output(let bytes): Terminal.write(bytes, to: STDOUT_FILENO)
        case .reply(.failure(let failure)): throw failure
        case .reply(.done), .closed: return
        case .reply, .error: break
        }
      }
      let ready = waitForAny([client.descriptor] + (inputEnded ? [] : [STDIN_FILENO]))
      if ready[0], !client.fill() { return }
      if !inputEnded, ready[1] {
        let typed = readInput()
        if typed.isEmpty { inputEnded = true }
        if let index = typed.firstIndex(of: Self.leave) {
          client.send(input: Array(typed[..<index]))
          return client.leave()
        }
        if !typed.isEmpty { client.send(input: typed) }
      }
    }
  }
}

struct ExecCommand: ParsableCommand {
  static let configuration = CommandConfiguration(
    commandName: "exec", abstract: "Runs a program in a domain.",
    discussion: """
      Standard output and standard error come back apart; the exit code is the program's, 128 plus \
      the number of the signal that ended it, 126 if it cannot be executed, 127 if there is none. \
      ^C is passed on; the fourth one leaves.

        vosctl exec primary -- curl -sO http://10.0.2.100/file
        echo hello | vosctl exec -i storage -- tee /export/greeting
      """)

  @OptionGroup var target: SystemOptions

  @Flag(name: .shortAndLong, help: "Pass standard input on.")
  var interactive = false

  @Option(
    name: .shortAndLong,
    help: ArgumentHelp("Set a variable of its environment.", valueName: "name=value"))
  var env: [String] = []

  @Argument(help: "The domain.")
  var domain: String

  @Argument(parsing: .captureForPassthrough, help: "The program and its arguments, after \"--\".")
  var command: [String] = []

  /// The program and its arguments.
  private var words: [String] { command.first == "--" ? Array(command.dropFirst()) : command }

  mutating func validate() throws {
    // "exec DOMAIN -i -- CMD" means the same as "exec -i DOMAIN -- CMD".
    while command.contains("--"), let first = command.first,
      first == "-i" || first == "--interactive"
    {
      interactive = true
      command.removeFirst()
    }
    guard !words.isEmpty else { throw ValidationError("expected a program after \"--\"") }
    for entry in env where !entry.contains("=") || entry.hasPrefix("=") {
      throw ValidationError("--env is \"\(entry)\"; expected NAME=VALUE")
    }
  }

  func run() throws {
    let client = try target.connect()
    let interrupts = try Interrupts()
    client.send(
      .exec(
        Execution(domain: domain, arguments: words, environment: env, input: interactive)))
    throw ExitCode(try relay(client, interrupts))
  }

  /// Interruptions that are passed on before one is for us.
  private static let patience = 3

  /// Moves bytes until the program ends; returns its code.
  private func relay(_ client: ControlClient, _ interrupts: Interrupts) throws -> Int32 {
    var reads = interactive
    var interruptions = 0
    while true {
      while let incoming = client.next() {
        switch incoming {
        case .output(let bytes): Terminal.write(bytes, to: STDOUT_FILENO)
        case .error(let bytes): Terminal.write(bytes, to: STDERR_FILENO)
        case .reply(.done(let code)): return code ?? 0
        case .reply(.failure(let failure)): throw failure
        case .reply: break
        case .closed: throw connectionLost
        }
      }
      let ready = waitForAny(
        [client.descriptor, interrupts.descriptor] + (reads ? [STDIN_FILENO] : []))
      if ready[1], interrupts.take() {
        interruptions += 1
        // A domain that does not answer must not keep us.
        if interruptions > Self.patience { return ExitStatus.cancelled }
        client.send(.signal(SIGINT))
      }
      if reads, ready[2] {
        let bytes = readInput()
        client.send(input: bytes)
        reads = !bytes.isEmpty
      }
      if ready[0], !client.fill() { throw connectionLost }
    }
  }
}

/// What is there on standard input; empty at its end.
private func readInput() -> [UInt8] {
  var buffer = [UInt8](repeating: 0, count: 32 << 10)
  // SAFETY: the call writes at most as many bytes as the array has.
  let count = unsafe read(STDIN_FILENO, &buffer, buffer.count)
  return Array(buffer.prefix(max(0, count)))
}

/// A terminal that passes every key on as it is.
enum RawTerminal {
  /// Runs `body` with standard input raw, if it is a terminal, and restores it.
  static func with(_ body: () throws -> Void) throws {
    var saved = termios()
    // SAFETY: the calls read and write locals of the type they expect.
    guard unsafe tcgetattr(STDIN_FILENO, &saved) == 0 else { return try body() }
    var raw = saved
    unsafe cfmakeraw(&raw)
    unsafe tcsetattr(STDIN_FILENO, TCSANOW, &raw)
    defer { unsafe tcsetattr(STDIN_FILENO, TCSANOW, &saved) }
    try body()
  }
}
