// SPDX-License-Identifier: Apache-2.0
public import DeviceModel

/// What is to be booted, and what the guest is told about its machine.
public struct BootRequest {
  /// A bzImage or a PVH ELF.
  public var kernel: any ImageSource
  /// Handed to the kernel as its initial RAM disk.
  public var initrd: (any ImageSource)?
  /// Without a terminating NUL.
  public var commandLine: String
  /// The domain's own description, a flattened device tree.
  public var deviceTree: [UInt8]
  public var ram: RAMLayout
  /// The vCPUs have the local APIC ids 0 up to here.
  public var processorCount: Int
  /// The window above 4 GiB that PCI memory BARs may use.
  public var pciWindow64: Range<UInt64>

  public init(
    kernel: any ImageSource, initrd: (any ImageSource)? = nil, commandLine: String = "",
    deviceTree: [UInt8] = [], ram: RAMLayout, processorCount: Int, pciWindow64: Range<UInt64>
  ) {
    self.kernel = kernel
    self.initrd = initrd
    self.commandLine = commandLine
    self.deviceTree = deviceTree
    self.ram = ram
    self.processorCount = processorCount
    self.pciWindow64 = pciWindow64
  }
}

/// Loads `request` into `memory`, which holds nothing but zeros, and says how the first vCPU starts.
///
/// The kernel's kind is told from its content. Nothing in the images is trusted.
public func loadGuest(
  _ request: BootRequest, into memory: some GuestMemory
) throws(BootError) -> EntryState {
  let tables = try ACPITables(
    processorCount: request.processorCount, pciWindow64: request.pciWindow64)
  guard !request.commandLine.utf8.contains(0) else { throw .commandLineHoldsNUL }
  switch try KernelImage(examining: request.kernel) {
  case .bzImage(let image):
    try tables.write(into: memory)
    return try image.load(request, into: memory)
  case .pvh(let image):
    try tables.write(into: memory)
    return try image.load(request, into: memory)
  }
}

/// A kernel whose headers have been checked.
enum KernelImage {
  case bzImage(BzImage)
  case pvh(PVHImage)

  init(examining source: any ImageSource) throws(BootError) {
    if let image = try BzImage(examining: source) {
      self = .bzImage(image)
    } else if let image = try PVHImage(examining: source) {
      self = .pvh(image)
    } else {
      throw .notAKernel(image: source.name)
    }
  }
}

extension BootRequest {
  /// Copies the initial RAM disk to the top of low RAM, below `limit` and above `kernelEnd`;
  /// empty if there is none.
  func loadInitrd(
    kernelEnd: UInt64, limit: UInt64, into memory: some GuestMemory
  ) throws(BootError) -> Range<UInt64> {
    guard let initrd, initrd.byteCount > 0 else { return 0..<0 }
    let top = min(limit, ram.lowByteCount)
    let pageMask = ~(BootLayout.pageByteCount - 1)
    guard initrd.byteCount <= top, (top - initrd.byteCount) & pageMask >= kernelEnd else {
      let (needed, overflow) = kernelEnd.addingReportingOverflow(initrd.byteCount)
      throw .outOfMemory(what: initrd.name, needed: overflow ? .max : needed, available: top)
    }
    let address = (top - initrd.byteCount) & pageMask
    try initrd.copy(from: 0, byteCount: initrd.byteCount, to: memory, at: address)
    return address..<(address + initrd.byteCount)
  }

  /// Writes the command line with its NUL; `limit` is what the kernel takes without the NUL.
  func writeCommandLine(
    limit: UInt64, into memory: some GuestMemory
  ) throws(BootError) -> UInt64 {
    let place = BootLayout.commandLine
    let bytes = Array(commandLine.utf8)
    let room = min(limit, place.upperBound - place.lowerBound - 1)
    guard UInt64(bytes.count) <= room else {
      throw .commandLineTooLong(byteCount: bytes.count, limit: room)
    }
    try memory.put(bytes + [0], at: place.lowerBound)
    return place.lowerBound
  }

  /// Writes the device tree after `header`; returns where the header starts.
  func writeDeviceTree(
    after header: [UInt8] = [], into memory: some GuestMemory
  ) throws(BootError) -> UInt64 {
    let place = BootLayout.deviceTree
    let room = place.upperBound - place.lowerBound - UInt64(header.count)
    guard UInt64(deviceTree.count) <= room else {
      throw .deviceTreeTooLarge(byteCount: deviceTree.count, limit: room)
    }
    try memory.put(header + deviceTree, at: place.lowerBound)
    return place.lowerBound
  }
}
