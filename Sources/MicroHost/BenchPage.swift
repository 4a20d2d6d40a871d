// SPDX-License-Identifier: Apache-2.0

// Read by the host's benchmark and, by a link, by the micro guests that it runs.

/// The first bytes of slice 0's arena in a benchmark: one cache line for each writer.
public enum BenchPage {
  /// The line that goes to and fro in the raw round trip.
  public static let raw = 0
  /// written by the service's interrupt stub: doorbells taken.
  public static let doorbells = 64
  /// Written by the host: the step that the client may take.
  public static let gate = 128
  /// Written by the client: the step that it has reached.
  public static let step = 192
  /// Written by the client while it waits for the gate: its time stamp counter.
  public static let ticks = 256
  /// Bytes in use.
  public static let byteCount = 320

  /// The client's steps, in order.
  public enum Step {
    /// Ready to measure calls; waits for the gate.
    public static let ready: UInt64 = 1
    /// Calls are measured; waits for the gate.
    public static let measured: UInt64 = 2
  }

  /// The option on the client's command line by which it waits for the gate.
  public static let gateOption = "gate"
  /// The option by which it measures little: enough to see that everything works.
  public static let briefOption = "brief"
  /// Null calls that the client measures if it is not brief.
  public static let callCount: UInt64 = 1_000_000
}

/// Call numbers between the benchmark's guests alone; from the end of vos's own.
public enum BenchCall {
  /// Plays `argument[0]` raw round trips on the line at the call's data window.
  public static let raw: UInt16 = 0x1F00
  /// Tells the service's handler where to count doorbells: the call's data window.
  public static let countDoorbells: UInt16 = 0x1F01
  /// Ends the service.
  public static let stop: UInt16 = 0x1F02
}
