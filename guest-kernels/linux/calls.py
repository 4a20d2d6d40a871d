#!/usr/bin/env python3
# SPDX-License-Identifier: Apache-2.0
"""calls.py: prints docs/calls.md, from the code.

What serves a call is read from the tables that the kernels and libvos themselves use: vos.ko's
proto_ops, libvos's exports, the file service's switch over FUSE opcodes. What differs from Linux stands
in the comment of the function that serves it, after "Differs:". `calls.py --check` compares.
"""
import pathlib
import re
import sys

HERE = pathlib.Path(__file__).resolve().parent
PAGE = HERE / "../../docs/calls.md"

# The system calls behind each operation of a socket (net/socket.c), and of a FUSE file system.
SOCKET_CALLS = {
    "release": "close (the last one)", "bind": "bind", "connect": "connect", "accept": "accept, accept4",
    "socketpair": "socketpair", "getname": "getsockname, getpeername",
    "poll": "poll, ppoll, select, pselect6, epoll_*", "ioctl": "ioctl", "gettstamp": "ioctl SIOCGSTAMP*",
    "listen": "listen", "shutdown": "shutdown", "setsockopt": "setsockopt", "getsockopt": "getsockopt",
    "sendmsg": "send, sendto, sendmsg, sendmmsg, write, writev", "mmap": "mmap",
    "recvmsg": "recv, recvfrom, recvmsg, recvmmsg, read, readv, splice (from)",
    "sendpage": "sendfile, splice (to)", "set_rcvlowat": "setsockopt SO_RCVLOWAT",
    "set_peek_off": "setsockopt SO_PEEK_OFF",
}
FUSE_CALLS = {
    "LOOKUP": "every call with a path", "FORGET": "", "BATCH_FORGET": "", "INTERRUPT": "signals",
    "INIT": "mount", "DESTROY": "umount", "GETATTR": "stat, lstat, fstat, newfstatat, statx",
    "SETATTR": "chmod*, chown*, truncate, ftruncate, utime*", "READLINK": "readlink, readlinkat",
    "SYMLINK": "symlink, symlinkat", "MKNOD": "mknod, mknodat", "MKDIR": "mkdir, mkdirat",
    "UNLINK": "unlink, unlinkat", "RMDIR": "rmdir", "RENAME": "rename, renameat", "RENAME2": "renameat2",
    "LINK": "link, linkat", "OPEN": "open, openat, openat2, creat", "CREATE": "open with O_CREAT",
    "READ": "read, readv, pread64, preadv*, sendfile, mmap (faults)",
    "WRITE": "write, writev, pwrite64, pwritev*, msync", "RELEASE": "close (the last one)", "FLUSH": "close",
    "FSYNC": "fsync, fdatasync, sync_file_range", "FSYNCDIR": "fsync of a directory", "OPENDIR": "open",
    "READDIR": "getdents64", "READDIRPLUS": "getdents64", "RELEASEDIR": "close", "STATFS": "statfs, fstatfs",
    "ACCESS": "access, faccessat, faccessat2", "SETXATTR": "setxattr, lsetxattr, fsetxattr",
    "GETXATTR": "getxattr, lgetxattr, fgetxattr", "LISTXATTR": "listxattr, llistxattr, flistxattr",
    "REMOVEXATTR": "removexattr, lremovexattr, fremovexattr", "FALLOCATE": "fallocate",
    "LSEEK": "lseek SEEK_DATA, SEEK_HOLE", "COPY_FILE_RANGE": "copy_file_range", "IOCTL": "ioctl",
    "GETLK": "fcntl F_GETLK", "SETLK": "fcntl F_SETLK", "SETLKW": "fcntl F_SETLKW", "TMPFILE": "O_TMPFILE",
}


def functions(text):
    """name: (comment before it, body)"""
    found = {}
    pattern = r"(?:/\*(?P<comment>(?:(?!\*/).)*)\*/\n)?^(?:static )?[a-z_ \d]*?\**(?P<name>vos_\w+)\((?P<rest>[^;{]*?)\)\n\{(?P<body>.*?)^\}"
    for match in re.finditer(pattern, text, re.M | re.S):
        found[match["name"]] = (match["comment"] or "", match["body"])
    return found


def differs(comment):
    text = re.sub(r"\s*\n\s*\* ?", " ", comment)
    match = re.search(r"Differs: (.*?)\s*$", text)
    return match[1].strip() if match else ""


def channel_calls(name, table, depth=4):
    body = table.get(name, ("", ""))[1]
    calls = set(re.findall(r"VOS_CALL_(\w+)", body))
    for other in set(re.findall(r"\b(vos_\w+)\(", body)) if depth else ():
        if other in table and other not in ("vos_sock_tell_options", "vos_sock_rearm", "vos_diag_sendmsg"):
            calls |= channel_calls(other, table, depth - 1)
    return calls


def sockets():
    text = "\n".join(path.read_text() for path in sorted((HERE / "module").glob("sock*.c")))
    text += (HERE / "module/calls.c").read_text()
    table = functions(text)
    operations = re.findall(r"^\t\t\.(\w+) = (\w+),", text[text.index("#define VOS_OPS"):], re.M)
    for operation, function in operations:
        if operation not in SOCKET_CALLS:
            continue
        if function.startswith("sock_no_"):
            how = "through sendmsg" if operation == "sendpage" else "refused, as for local sockets: " + (
                "ENODEV" if operation == "mmap" else "EOPNOTSUPP")
        else:
            how = "slice 0: " + ", ".join(sorted(channel_calls(function, table))) if channel_calls(
                function, table) else "this kernel"
        note = differs(table.get(function, ("", ""))[0])
        yield SOCKET_CALLS[operation], f"`{function}`", how, note


def files():
    for path in sorted((HERE / "vosguest/Sources/Guest").glob("Fuse*.swift")):
        for names, body in re.findall(r"case ((?:FUSE_\w+(?:, )?)+): *(.*)", path.read_text()):
            for name in re.findall(r"FUSE_(\w+)", names):
                calls = FUSE_CALLS.get(name)
                if calls:
                    yield calls, f"FUSE_{name}", "`" + path.name + "`"


def exports(name):
    text = (HERE / f"libvos/Sources/{name}.swift").read_text()
    names = set(re.findall(r"^@c\((\w+)\)", text, re.M))
    hooks = {name for name in names if name.startswith("libvos_hook_")}
    if hooks:  # thunks.S gives them the functions that they stand before
        thunks = (HERE / "libvos/CLibvos/thunks.S").read_text()
        names |= set(re.findall(r"^\s*\w+ (\w+), *(?:libvos_hook_)?\w+", thunks, re.M))
    return sorted(names - hooks)


def page():
    yield "# Calls\n\nMade by `guest-kernels/linux/calls.py` from the code: do not edit.\n"
    yield "## Sockets, by the kernel path\n"
    yield "AF_INET, AF_INET6, AF_PACKET, NETLINK_ROUTE, NETLINK_SOCK_DIAG. Works for every program.\n"
    yield "| calls | in vos.ko | served by | what differs from Linux |\n|---|---|---|---|"
    yield "| socket | `vos_socket_create` | slice 0: SOCKET | " + differs(functions(
        (HERE / "module/sockets.c").read_text())["vos_socket_create"][0]) + " |"
    for row in sockets():
        yield "| " + " | ".join(row) + " |"
    yield ("| dup*, fcntl, fork, exec, close_range, SCM_RIGHTS, F_SETOWN, epoll_ctl | the kernel's own | this kernel: "
           "descriptors are real | SIGIO comes only after a call has found nothing |")
    yield "\n## Files under a mount, by the kernel path\n"
    yield "The kernel's FUSE code, then the storage domain. What is not here is ENOSYS or the kernel's own (locks, mmap).\n"
    yield "| calls | message | in vosguest |\n|---|---|---|"
    for row in dict.fromkeys(files()):
        yield "| " + " | ".join(row) + " |"
    yield "\n## Without a trap: what libvos.so takes over\n"
    yield "[fast-path.md](fast-path.md) says when; else the real function is called, which takes the kernel path.\n"
    yield "| how | functions |\n|---|---|"
    for how, name in (("by slots, on remote descriptors", "ExportsTransfer"),
                      ("looked at, then the real one: a descriptor is made or goes", "ExportsDescriptors"),
                      ("gives descriptors back to the kernel path, then the real one", "ExportsSharing")):
        yield f"| {how} | {', '.join(exports(name))} |"


text = "\n".join(page()) + "\n"
if "--check" in sys.argv:
    sys.exit(0 if PAGE.read_text() == text else "docs/calls.md is not what calls.py prints")
sys.stdout.write(text)
