// SPDX-License-Identifier: Apache-2.0

internal import CLibvos

// Interfaces' names and numbers. libc asks a socket of AF_UNIX, which is this kernel's own; the
// interfaces are those of the domain that has the AF_INET sockets (netdevice(7)).
// SAFETY (all below): a name is NUL-terminated, a buffer has IF_NAMESIZE bytes (if_nametoindex(3)).

/// Asks with `request`; 0 or the error.
private func ask(_ call: UInt, _ request: inout libvos_interface) -> Int32 {
  let (internet, datagram): (Int32, Int32) = (2, 2)
  let socket = unsafe real().pointee.socket(internet, datagram | Linux.closeOnExec, 0)
  guard socket >= 0 else { return errorNumber }
  let result = unsafe withUnsafeMutablePointer(to: &request) {
    unsafe real().pointee.ioctl(socket, call, UInt(bitPattern: $0))
  }
  let error = result < 0 ? errorNumber : 0
  _ = unsafe real().pointee.close(socket)
  return error
}

@c(if_nametoindex)
public func interfaceNumber(_ name: UnsafePointer<CChar>) -> UInt32 {
  let indexCall: UInt = 0x8933  // SIOCGIFINDEX
  let saved = errorNumber
  var request = libvos_interface()
  guard unsafe libvos_interface_name(&request, name) else {
    errorNumber = Linux.noDevice
    return 0
  }
  let error = ask(indexCall, &request)
  errorNumber = error == 0 ? saved : error
  return error == 0 ? request.number : 0
}

@c(if_indextoname)
public func interfaceName(
  _ number: UInt32, _ name: UnsafeMutablePointer<CChar>
) -> UnsafeMutablePointer<CChar>? {
  let nameCall: UInt = 0x8910  // SIOCGIFNAME
  let saved = errorNumber
  var request = libvos_interface()
  request.number = number
  let error = ask(nameCall, &request)
  guard error == 0 else {
    errorNumber = error == Linux.noDevice ? Linux.noSuchAddress : error
    return nil
  }
  unsafe libvos_copy(name, &request, Int(LIBVOS_INTERFACE_NAME))
  errorNumber = saved
  return unsafe name
}
