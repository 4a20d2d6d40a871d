// SPDX-License-Identifier: Apache-2.0
import Foundation

/// docs/calls.md: which call is served how, and what differs from Linux.
///
/// What serves a call is read from the tables that the kernels and libvos themselves use: vos.ko's
/// `proto_ops`, libvos's exports, the file service's switch over FUSE opcodes. What differs stands
/// in the comment of the function that serves it, after "Differs:".
public struct CallsTable {
  let workspace: Workspace

  public init(_ workspace: Workspace) { self.workspace = workspace }

  private var page: URL { workspace.path("docs/calls.md") }

  /// Writes the page anew.
  public func write() throws {
    try Data(try text().utf8).write(to: page)
  }

  /// Whether the page is what `write` would make of the sources now.
  public func isCurrent() throws -> Bool {
    try text() == read("docs/calls.md")
  }

  func text() throws -> String {
    try (socketSection() + fileSection() + localSection() + exportSection()).joined(separator: "\n")
      + "\n"
  }

  // MARK: Sockets

  /// How deep calls of the module's functions are followed, and which are not: they are made beside
  /// what was asked.
  private static let depth = 5
  private static let besides: Set = [
    "vos_sock_tell_options", "vos_sock_rearm", "vos_sock_wake_next", "vos_diag_sendmsg",
    "vos_owners_learn",
  ]

  private func socketSection() throws -> [String] {
    let module = "guest-kernels/linux/module/"
    let files = try names(in: module).filter { $0.hasPrefix("sock") && $0.hasSuffix(".c") }
    let text = try (files + ["proctable.c", "calls.c"]).map { try read(module + $0) }
      .joined(separator: "\n")
    let source = CSource(text, prefix: "vos_")
    let table = "vos_table_open"
    return [
      "# Calls\n", "Made by `tools/dev calls` from the code: do not edit.\n",
      "## Sockets, by the kernel path\n",
      "AF_INET, AF_INET6, AF_PACKET, NETLINK_ROUTE, NETLINK_SOCK_DIAG. Works for every program.\n",
      "| calls | in vos.ko | served by | what differs from Linux |\n|---|---|---|---|",
      "| socket | `vos_socket_create` | slice 0: SOCKET | "
        + "\(source.differences("vos_socket_create")) |",
    ] + operations(text).compactMap { row($0.name, $0.function, source) } + [
      "| dup*, fcntl, fork, exec, close_range, SCM_RIGHTS, F_SETOWN, epoll_ctl | the kernel's own "
        + "| this kernel: descriptors are real | SIGIO comes only after a call has found nothing |",
      "| open and read of files in /proc/net | `\(table)` | \(way("open", table, source)) "
        + "| \(source.differences(table)) |",
    ]
  }

  /// The pairs of operation and function in the macro that makes each family's `proto_ops`.
  private func operations(_ text: String) -> [(name: String, function: String)] {
    guard let start = text.firstRange(of: "#define VOS_OPS") else { return [] }
    return text[start.upperBound...].prefix { $0 != "}" }.split(separator: "\n").compactMap {
      guard let match = $0.firstMatch(of: /\t\t\.(\w+) = (\w+),/) else { return nil }
      return (String(match.1), String(match.2))
    }
  }

  private func row(_ operation: String, _ function: String, _ source: CSource) -> String? {
    guard let calls = CallNames.socket[operation] else { return nil }
    let way = way(operation, function, source)
    return "| \(calls) | `\(function)` | \(way) | \(source.differences(function)) |"
  }

  private func way(_ operation: String, _ function: String, _ source: CSource) -> String {
    if function.hasPrefix("sock_no_") {
      if operation == "sendpage" { return "through sendmsg" }
      return "refused, as for local sockets: " + (operation == "mmap" ? "ENODEV" : "EOPNOTSUPP")
    }
    let calls = source.words(
      after: "VOS_CALL_", from: function, ignoring: CallsTable.besides, depth: CallsTable.depth)
    return calls.isEmpty ? "this kernel" : "slice 0: " + calls.sorted().joined(separator: ", ")
  }

  // MARK: Files

  private func fileSection() throws -> [String] {
    let folder = "guest-kernels/linux/vosguest/Sources/Guest/"
    var rows: [String] = []
    for file in try names(in: folder) where file.hasPrefix("Fuse") && file.hasSuffix(".swift") {
      for line in try read(folder + file).split(separator: "\n") {
        guard let match = line.firstMatch(of: /case ((?:FUSE_\w+(?:, )?)+):/) else { continue }
        for name in match.1.split(separator: ", ") {
          guard let calls = CallNames.fuse[String(name.dropFirst("FUSE_".count))] else { continue }
          let row = "| \(calls) | \(name) | `\(file)` |"
          if !rows.contains(row) { rows.append(row) }
        }
      }
    }
    return [
      "\n## Files under a mount, by the kernel path\n",
      "The kernel's FUSE code, then the storage domain. What is not here is ENOSYS or the kernel's "
        + "own (locks, mmap).\n[storage.md](storage.md) lists what differs from a local file system.\n",
      "| calls | message | in vosguest |\n|---|---|---|",
    ] + rows
  }

  private func localSection() -> [String] {
    [
      "\n## By the primary's kernel alone\n",
      "As on any Linux, also with descriptors of what is remote.\n", "| calls | why |\n|---|---|",
    ] + CallNames.local.map { "| \($0.calls) | \($0.why) |" }
  }

  // MARK: The fast path

  private static let exportFiles = [
    (how: "by slots, on remote descriptors", file: "ExportsTransfer"),
    (how: "the same, of files that were read or written by slots before", file: "ExportsFiles"),
    (how: "the same, with addresses and many at once", file: "ExportsMessages"),
    (how: "by slots, if remote sockets alone are asked for data", file: "ExportsReadiness"),
    (how: "the same, inside the C library (`vos-run --rewrite`)", file: "ExportsInternal"),
    (how: "looked at, then the real one: a descriptor is made or goes", file: "ExportsDescriptors"),
    (
      how: "gives descriptors back to the kernel path, then the real one", file: "ExportsSharing"
    ),
    (how: "the real one, then the mount's root is told", file: "ExportsWhole"),
  ]

  private func exportSection() throws -> [String] {
    [
      "\n## Without a trap: what libvos.so takes over\n",
      "[fast-path.md](fast-path.md) says when; else the real function is called, which takes the "
        + "kernel path.\n", "| how | functions |\n|---|---|",
    ]
      + (try CallsTable.exportFiles.map {
        "| \($0.how) | \(try exports($0.file).joined(separator: ", ")) |"
      })
      + [
        "\nUnder `vos-run --rewrite` static programs come by with these system calls: "
          + "\(try gateCalls().joined(separator: ", "))."
      ]
  }

  /// The functions that a file of libvos exports. Where those are hooks, thunks.S says before which
  /// functions they stand.
  private func exports(_ file: String) throws -> [String] {
    let source = try read("guest-kernels/linux/libvos/Sources/\(file).swift")
    var names = Set(source.matches(of: /(?m)^@c\((\w+)\)/).map { String($0.1) })
    let hooks = names.filter { $0.hasPrefix("libvos_hook_") }
    guard !hooks.isEmpty else { return names.sorted() }
    let thunks = try read("guest-kernels/linux/libvos/CLibvos/thunks.S")
    names.formUnion(thunks.matches(of: /(?m)^THUNK (\w+),/).map { String($0.1) })
    return names.subtracting(hooks).sorted()
  }

  /// The system calls that vos-load's gate looks at.
  private func gateCalls() throws -> [String] {
    try read("guest-kernels/linux/vos-load/CVosLoad/shim.c")
      .matches(of: /\[\d+\] = VOSLOAD_[^\/]*\/\* (\w+)/).map { String($0.1) }.sorted()
  }

  private func names(in folder: String) throws -> [String] {
    try FileManager.default.contentsOfDirectory(atPath: workspace.path(folder).path).sorted()
  }

  private func read(_ path: String) throws -> String {
    try String(contentsOf: workspace.path(path), encoding: .utf8)
  }
}
