// SPDX-License-Identifier: Apache-2.0
import FuzzKit
import Glibc

@testable import Manifest

// Initial RAM disks and kernels, as `vosctl validate` looks at them: cpio, gzip, xz, zstd, lz4, bzip2,
// and kernel headers. Input: which, then the file.
let path = "/dev/shm/vos-fuzz-\(getpid())"
atexit { unlink(path) }

fuzz { input in
  let isKernel = input.byte() & 7 == 7
  let bytes = input.takeAll()
  let descriptor = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0o600)
  expect(descriptor >= 0 && write(descriptor, bytes, bytes.count) == bytes.count, "no scratch file")
  close(descriptor)
  let problem =
    isKernel
    ? KernelFile.problem(of: path) : KernelFile.initrdProblem(of: path, memoryBytes: 1 << 20)
  expect(problem?.isEmpty != true, "a problem without words")
}
