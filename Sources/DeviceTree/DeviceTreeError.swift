// SPDX-License-Identifier: Apache-2.0
import CFDT

/// Why a description cannot be written as a device tree, or a blob cannot be read as one.
public enum DeviceTreeError: Error, Equatable, CustomStringConvertible {
  /// The tree would be larger than a domain may be handed.
  case tooLarge(limit: Int)
  /// A string holds a NUL byte, which would end it early.
  case holdsNUL(property: String)
  /// libfdt refused an operation.
  case library(operation: String, reason: String)
  /// The tree's root is not `compatible` with this binding.
  case foreign
  /// A node that the binding asks for is missing.
  case missingNode(String)
  /// A property that the binding asks for is missing.
  case missingProperty(String, node: String)
  /// A property's bytes are not of the binding's type.
  case badProperty(String, node: String, expected: String)

  public var description: String {
    switch self {
    case .tooLarge(let limit):
      "device tree needs more than \(limit) bytes"
    case .holdsNUL(let property):
      "device tree property \(property) holds a NUL byte"
    case .library(let operation, let reason):
      "device tree: \(operation): \(reason)"
    case .foreign:
      "device tree is not compatible with \(Schema.compatible)"
    case .missingNode(let node):
      "device tree has no node \(node)"
    case .missingProperty(let property, let node):
      "device tree node \(node) has no property \(property)"
    case .badProperty(let property, let node, let expected):
      "device tree property \(property) of \(node) is not \(expected)"
    }
  }

  /// `code` is a negative libfdt error.
  static func library(_ operation: String, code: Int32) -> DeviceTreeError {
    // SAFETY: fdt_strerror returns a static NUL-terminated string for every number.
    let reason = unsafe String(cString: fdt_strerror(code))
    return .library(operation: operation, reason: reason)
  }
}

/// Names of the binding firmware/bindings/vos.md.
enum Schema {
  static let compatible = "vos,domain-1"
  static let model = "vos"
  static let domainPath = "/vos"
  static let channelsPath = "/vos/channels"
  static let networkPath = "/vos/network"
  static let storagePath = "/vos/storage"
}
