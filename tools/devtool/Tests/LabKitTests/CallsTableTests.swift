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
    let root = URL(fileURLWithPath: #filePath).deletingLastPathComponent()
      .deletingLastPathComponent().deletingLastPathComponent().deletingLastPathComponent()
      .deletingLastPathComponent()
    let table = CallsTable(Workspace(root: root))
    #expect(try table.isCurrent(), "run tools/dev calls")
    let text = try table.text()
    // A source that is laid out in another way must not make rows vanish unseen.
    for call in ["| connect |", "| accept, accept4 |", "FUSE_LOOKUP", "getdents64", "pwrite64"] {
      #expect(text.contains(call))
    }
  }
}
