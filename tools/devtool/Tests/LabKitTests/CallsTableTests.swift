// SPDX-License-Identifier: Apache-2.0
import Foundation
import Testing

@testable import LabKit

@Suite struct CallsTableTests {
  private let source = CSource(
    """
    static const struct table one = {
    \t.first = vos_first,
    };

    /* Not of a function. */
    #define VOS_NUMBER 1

    /* Asks. */
    static s64 vos_ask(struct vos_sock *vs)
    {
    \treturn vos_call(vs, VOS_CALL_IOCTL);
    }

    /*
     * Takes all that there is.
     *
     * Differs: it may
     * be late; EPERM.
     */
    int vos_take(struct socket *sock,
    \t     int flags)
    {
    \tif (flags) {
    \t\treturn 0;
    \t}
    \treturn vos_ask(vos_sk(sock)) ?: vos_call(VOS_CALL_READ);
    }

    static int other(void)
    {
    }
    """, prefix: "vos_")

  @Test func functionsAreFoundWithTheirComments() {
    #expect(source.functions.keys.sorted() == ["vos_ask", "vos_take"])
    #expect(source.functions["vos_ask"]?.comment == "Asks.")
    #expect(source.differences("vos_take") == "it may be late; EPERM.")
    #expect(source.differences("vos_ask") == "")
    #expect(source.differences("none") == "")
  }

  @Test func whatIsCalledIsFollowed() {
    let calls = source.words(after: "VOS_CALL_", from: "vos_take", depth: 1)
    #expect(calls == ["IOCTL", "READ"])
    #expect(source.words(after: "VOS_CALL_", from: "vos_take", depth: 0) == ["READ"])
    let without = source.words(
      after: "VOS_CALL_", from: "vos_take", ignoring: ["vos_ask"], depth: 1)
    #expect(without == ["READ"])
  }

  @Test func theCommittedTableIsWhatTheCodeSays() throws {
    let table = CallsTable(checkout())
    #expect(try table.isCurrent(), "run tools/dev calls")
    let text = try table.text()
    // A source that is laid out in another way must not make rows vanish unseen.
    for call in ["| connect |", "| accept, accept4 |", "FUSE_LOOKUP", "getdents64", "pwrite64"] {
      #expect(text.contains(call))
    }
  }

  /// The 107 calls of VirtuOS's table, and those that Linux has had since.
  private static let wanted = """
    socket accept accept4 bind listen connect getsockname getpeername getsockopt setsockopt sendto recvfrom
    sendmsg recvmsg shutdown uname sethostname setdomainname read write pread64 pwrite64 splice sendfile fsync
    fdatasync flock fadvise64 fstat newfstatat select poll epoll_wait epoll_create epoll_create1 epoll_ctl dup
    close fcntl ioctl eventfd eventfd2 io_setup io_destroy io_cancel io_submit setuid setgid setreuid setregid
    setresuid setresgid setgroups capset prctl chdir fchdir symlink readlink link rename chmod fchmod truncate
    ftruncate stat lstat open chown fchown lchown lseek statfs fstatfs unlink mknod mkdir rmdir faccessat
    fchmodat fchownat futimesat mkdirat mknodat unlinkat readlinkat symlinkat linkat renameat utimensat utime
    utimes access setxattr lsetxattr fsetxattr getxattr lgetxattr fgetxattr listxattr llistxattr flistxattr
    removexattr lremovexattr fremovexattr getdents64 epoll_pwait epoll_pwait2 ppoll pselect6 recvmmsg sendmmsg
    readv writev preadv pwritev preadv2 pwritev2 openat openat2 statx renameat2 sync_file_range io_uring_enter
    """

  @Test func everyCallThatVirtuOSForwardedIsInTheTable() throws {
    let rows = try CallsTable(checkout()).text().split(separator: "\n").filter { $0.hasPrefix("|") }
    let words = Set(rows.flatMap { $0.matches(of: /[a-z0-9_]+\*?/).map(\.output) })
    let families = words.filter { $0.hasSuffix("*") }.map { $0.dropLast() }
    for call in Self.wanted.split(whereSeparator: \.isWhitespace) {
      #expect(words.contains(call) || families.contains { call.hasPrefix($0) }, "\(call)")
    }
  }
}
