// SPDX-License-Identifier: Apache-2.0
import DeviceModel
import PCI

/// A sink that notes what it is told.
final class RecordingSink: MessageInterruptSink {
  var configured: [Int: InterruptMessage?] = [:]
  var raised: [Int] = []

  func configure(vector: Int, message: InterruptMessage?) { configured[vector] = message }
  func raise(vector: Int) { raised.append(vector) }
}

/// A function with the BARs that a test needs; each BAR reads back what was last written to it.
final class TestFunction: PCIFunction {
  var space: ConfigurationSpace
  var accesses: [String] = []
  var lastValue: UInt64 = 0

  init(_ bars: [BARDescription], device: UInt16 = 0x1234) throws {
    space = ConfigurationSpace(
      identity: PCIIdentity(vendor: 0x1AF4, device: device, revision: 7, classCode: 0x05_00_00))
    for bar in bars { try space.addBAR(bar) }
  }

  var bars: [BARDescription] { space.bars }
  var decodedBARs: [DecodedBAR] { space.decodedBARs }

  func readConfiguration(offset: Int, width: Int) -> UInt32 { space.read(offset, width: width) }
  func writeConfiguration(offset: Int, width: Int, value: UInt32) {
    space.write(offset, width: width, value: value)
  }
  func readBAR(_ bar: Int, offset: UInt64, width: Int) -> UInt64 {
    accesses.append("r\(bar)+\(offset)/\(width)")
    return lastValue
  }
  func writeBAR(_ bar: Int, offset: UInt64, width: Int, value: UInt64) {
    accesses.append("w\(bar)+\(offset)/\(width)=\(value)")
    lastValue = value
  }
}

/// A mapper that notes what it is told.
final class RecordingMapper: BARMapper {
  var trace: [String] = []

  func map(_ decoded: DecodedBAR, of function: any PCIFunction, slot: Int) {
    trace.append("map \(slot).\(decoded.bar.index) \(String(decoded.address, radix: 16))")
  }
  func unmap(_ decoded: DecodedBAR, of function: any PCIFunction, slot: Int) {
    trace.append("unmap \(slot).\(decoded.bar.index) \(String(decoded.address, radix: 16))")
  }
}
