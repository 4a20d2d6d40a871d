// SPDX-License-Identifier: Apache-2.0

/// The system calls behind what the kernel asks of a socket family or of a FUSE file system.
enum CallNames {
  /// By the name of an operation of `struct proto_ops` (net/socket.c).
  static let socket: [String: String] = [
    "release": "close (the last one)",
    "bind": "bind",
    "connect": "connect",
    "accept": "accept, accept4",
    "socketpair": "socketpair",
    "getname": "getsockname, getpeername",
    "poll": "poll, ppoll, select, pselect6, epoll_*",
    "ioctl": "ioctl",
    "gettstamp": "ioctl SIOCGSTAMP*",
    "listen": "listen",
    "shutdown": "shutdown",
    "setsockopt": "setsockopt",
    "getsockopt": "getsockopt",
    "sendmsg": "send, sendto, sendmsg, sendmmsg, write, writev",
    "recvmsg": "recv, recvfrom, recvmsg, recvmmsg, read, readv, splice (from)",
    "mmap": "mmap",
    "sendpage": "sendfile, splice (to)",
    "set_rcvlowat": "setsockopt SO_RCVLOWAT",
    "set_peek_off": "setsockopt SO_PEEK_OFF",
  ]

  /// By FUSE opcode (include/uapi/linux/fuse.h); those that stand for no call are left out.
  static let fuse: [String: String] = [
    "LOOKUP": "every call with a path",
    "INTERRUPT": "signals",
    "INIT": "mount",
    "DESTROY": "umount",
    "GETATTR": "stat, lstat, fstat, newfstatat, statx",
    "SETATTR":
      "chmod, fchmod, fchmodat, chown, fchown, lchown, fchownat, truncate, ftruncate, utime, utimes, "
      + "futimesat, utimensat",
    "READLINK": "readlink, readlinkat",
    "SYMLINK": "symlink, symlinkat",
    "MKNOD": "mknod, mknodat",
    "MKDIR": "mkdir, mkdirat",
    "UNLINK": "unlink, unlinkat",
    "RMDIR": "rmdir",
    "RENAME": "rename, renameat",
    "RENAME2": "renameat2",
    "LINK": "link, linkat",
    "OPEN": "open, openat, openat2, creat",
    "CREATE": "open with O_CREAT",
    "READ": "read, readv, pread64, preadv*, sendfile, mmap (faults)",
    "WRITE": "write, writev, pwrite64, pwritev*, msync",
    "RELEASE": "close (the last one)",
    "FLUSH": "close",
    "FSYNC": "fsync, fdatasync, sync_file_range",
    "FSYNCDIR": "fsync of a directory",
    "OPENDIR": "open of a directory",
    "READDIR": "getdents64",
    "READDIRPLUS": "getdents64",
    "RELEASEDIR": "close of a directory",
    "STATFS": "statfs, fstatfs",
    "ACCESS": "access, faccessat, faccessat2",
    "SETXATTR": "setxattr, lsetxattr, fsetxattr",
    "GETXATTR": "getxattr, lgetxattr, fgetxattr",
    "LISTXATTR": "listxattr, llistxattr, flistxattr",
    "REMOVEXATTR": "removexattr, lremovexattr, fremovexattr",
    "FALLOCATE": "fallocate",
    "LSEEK": "lseek SEEK_DATA, SEEK_HOLE",
    "COPY_FILE_RANGE": "copy_file_range",
    "IOCTL": "ioctl",
    "GETLK": "fcntl F_GETLK",
    "SETLK": "fcntl F_SETLK",
    "SETLKW": "fcntl F_SETLKW",
    "TMPFILE": "open with O_TMPFILE",
  ]

  /// Those that no other domain hears of, and why that is right.
  static let local: [(calls: String, why: String)] = [
    (
      "flock, lockf, fcntl F_SETLK, F_OFD_SETLK, F_SETLEASE",
      "nobody else has the export ([storage.md](storage.md#locks))"
    ),
    (
      "setuid, setgid, setreuid, setregid, setresuid, setresgid, setgroups, setfsuid, setfsgid, capset, "
        + "prctl, umask",
      "who calls is this kernel's to know: it checks, and requests for which it matters carry it "
        + "([abi.md](abi.md))"
    ),
    ("chdir, fchdir, getcwd", "folders are this kernel's, and name what is remote"),
    (
      "eventfd, eventfd2, epoll_create, epoll_create1, timerfd_create, signalfd4, pipe2",
      "local objects, in sets and lists together with remote ones"
    ),
    (
      "io_setup, io_submit, io_getevents, io_cancel, io_destroy, io_uring_*",
      "this kernel's queues: each operation on something remote takes the kernel path"
    ),
    ("fadvise64, readahead, mincore, madvise", "about pages that this kernel keeps"),
    ("uname, sethostname, setdomainname", "the primary's name is its own"),
  ]
}
