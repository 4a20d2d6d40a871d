// SPDX-License-Identifier: Apache-2.0

/// vos-run: sets the environment that libvos reads, then becomes the program.
@c(main)
public func main(
  _ count: Int32, _ arguments: UnsafePointer<UnsafePointer<CChar>?>?
) -> Int32 {
  var words: [Word] = []
  if let arguments = unsafe arguments {
    // SAFETY: `count` strings, as the C library calls main.
    for index in 0..<Int(max(count, 0)) {
      if let text = unsafe arguments[index] { words.append(unsafe System.word(text)) }
    }
  }
  VosRun.main(Array(words.dropFirst()))
  return 0
}

enum VosRun {
  // As env(1) and chroot(1) have them.
  private static let failed: Int32 = 125
  private static let notExecutable: Int32 = 126
  private static let notFound: Int32 = 127

  private static let help: StaticString = """
    usage: vos-run [OPTION]... [--] PROGRAM [ARGUMENT]...

    Runs PROGRAM with the fast path of the interdomain channel set as the options say. Programs of the
    primary have it anyway, with the settings that are learnt; what it starts inherits them.

      --fast            use the fast path (the default)
      --fast=sockets    for sockets only; --fast=files for files only
      --no-fast         make every call by the kernel: slower, the same meaning
      --spin NS         look for an answer at most NS nanoseconds, then yield the processor
      --yield NS        yield at most NS nanoseconds more, then sleep
      --rewrite         reach what the C library calls inside itself, too (stdio, getaddrinfo), and
                        static programs, whose system calls are turned when they are loaded
      --mn              run its threads on a few of the kernel's
      -h, --help        say this

    The exit status is PROGRAM's; 125 if vos-run itself fails, 126 if PROGRAM cannot be run, 127 if it is
    not found. VOS_DEBUG=1 in the environment has PROGRAM count its calls on standard error.

    """

  static func main(_ words: [Word]) {
    do throws(UsageError) {
      let options = try Options(words)
      guard let name = options.command.first else {
        System.print(Word(help), to: 1)
        return
      }
      let loader = prepare(options, name)
      run(loader + options.command, name)
    } catch {
      fail([Word(error.problem), quoted(error.word), Word("; "), Word(error.advice)], failed)
    }
  }

  /// The environment, and refusals of what could not work. What comes before the command: the loader
  /// of static programs and the file, if they are to be rewritten.
  private static func prepare(_ options: Options, _ name: Word) -> [Word] {
    var loader: [Word] = []
    var preload = Preload(System.variable("LD_PRELOAD") ?? [])
    preload.remove(named: "libvos.so")
    preload.remove(named: "libvos-mn.so")
    if options.speed != .off {
      if let file = System.find(name), System.linkage(of: file) == .fixed {
        refuseStatic(options, file)
        if options.rewrites { loader = [beside("vos-load", "loader"), file] }
      }
      preload.prepend(beside("libvos.so", "library"))
      if options.isUserThreaded { preload.prepend(beside("libvos-mn.so", "library")) }
    }
    System.set("LD_PRELOAD", preload.libraries.isEmpty ? nil : preload.text)
    System.set("VOS_FAST", fastValue(options.speed))
    if let spin = options.spin { System.set("VOS_SPIN", spin) }
    if let yield = options.yield { System.set("VOS_YIELD", yield) }
    System.set("VOS_REWRITE", options.rewrites ? Word("1") : nil)
    return loader
  }

  private static func fastValue(_ speed: Options.Speed) -> Word? {
    switch speed {
    case .fast: nil
    case .socketsOnly: Word("sockets")
    case .filesOnly: Word("files")
    case .off: Word("0")
    }
  }

  /// A file beside this program.
  private static func beside(_ name: StaticString, _ kind: StaticString) -> Word {
    let path = System.ownFolder() + [UInt8(ascii: "/")] + Word(name)
    guard System.isReadable(path) else {
      fail(
        [
          Word("there is no "), Word(kind), quoted(path),
          Word("; this system was built without it: leave the option out, or use --no-fast"),
        ], failed)
    }
    return path
  }

  /// Nothing can be preloaded into a program without a dynamic linker: only asked-for settings are
  /// refused, for without them it runs as well as it can.
  private static func refuseStatic(_ options: Options, _ file: Word) {
    if options.isUserThreaded {
      fail(
        [
          quoted(file),
          Word(" is a static program, whose threads are its own: run it without --mn"),
        ], failed)
    }
    guard !options.rewrites, options.spin != nil || options.yield != nil else { return }
    fail(
      [
        quoted(file),
        Word(" is a static program, into which nothing is preloaded: its calls take the kernel's "),
        Word("path; add --rewrite, or run it without --spin and --yield"),
      ], failed)
  }

  private static func run(_ command: [Word], _ name: Word) -> Never {
    let error = System.execute(command)
    let isMissing = error == System.noEntry || error == System.notDirectory
    fail(
      [Word("cannot run"), quoted(name), Word(": "), System.describe(error)],
      isMissing ? notFound : notExecutable)
  }

  private static func quoted(_ word: Word) -> Word {
    word.isEmpty ? [] : Word(" \"") + word + Word("\"")
  }

  private static func fail(_ parts: [Word], _ status: Int32) -> Never {
    var line = Word("vos-run: ")
    for part in parts { line += part }
    System.print(line + [10], to: 2)
    System.end(status)
  }
}
