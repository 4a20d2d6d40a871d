// SPDX-License-Identifier: Apache-2.0

extension SystemStatus.ExternalStatus {
  /// What a QEMU needs to be this domain's machine, one option with its value in each entry.
  ///
  /// A reset ends QEMU: the domain's next life is then seen as one.
  public var qemuOptions: [String] {
    sockets.enumerated().flatMap { index, socket in
      [
        "-chardev socket,id=vos\(index),path=\(Self.escaped(socket.path))",
        "-device ivshmem-doorbell,chardev=vos\(index),vectors=1,addr=0x"
          + String(socket.slot, radix: 16),
      ]
    } + ["-dtb \(tree)", "-no-reboot"]
  }

  /// A comma within a value is written twice (qemu(1)).
  private static func escaped(_ value: String) -> String {
    value.replacing(",", with: ",,")
  }
}
