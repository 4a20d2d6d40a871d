// SPDX-License-Identifier: Apache-2.0
import MicroHost

/// Draws the curve of a copy measurement as SVG, with VirtuOS's beside it.
struct CopyPlot {
  private let points: [CopyBenchmark.Point]
  /// The value at the top.
  private let highest: Double

  private static let size = (width: 900.0, height: 520.0)
  /// The area within the axes.
  private static let area = (left: 80.0, top: 64.0, right: 870.0, bottom: 440.0)
  private static let gridStep = 0.25
  private static let colors = (ours: "#0b62a4", theirs: "#b4531f", native: "#555555")

  init(_ points: [CopyBenchmark.Point]) {
    self.points = points
    let ratios = points.map(\.ratio) + points.map { VirtuOSCurve.ratio(blockBytes: $0.blockBytes) }
    highest = ((ratios.max() ?? 1) / Self.gridStep).rounded(.up) * Self.gridStep
  }

  var svg: String {
    let (width, height) = (Int(Self.size.width), Int(Self.size.height))
    let head = """
      <svg xmlns="http://www.w3.org/2000/svg" width="\(width)" height="\(height)" \
      viewBox="0 0 \(width) \(height)" font-family="DejaVu Sans, Helvetica, sans-serif" \
      font-size="13" fill="#222222">
      <rect width="100%" height="100%" fill="#ffffff"/>
      """
    let theirs = points.map { VirtuOSCurve.ratio(blockBytes: $0.blockBytes) }
    let parts =
      [head] + titles + grid + blockNames + [
        line(theirs, color: Self.colors.theirs, extra: #" stroke-dasharray="7 5""#),
        line(points.map(\.ratio), color: Self.colors.ours),
      ] + dots + legend + ["</svg>\n"]
    return parts.joined(separator: "\n")
  }

  private func x(_ index: Int) -> Double {
    let share = Double(index) / Double(max(points.count - 1, 1))
    return Self.area.left + share * (Self.area.right - Self.area.left)
  }

  private func y(_ ratio: Double) -> Double {
    Self.area.bottom - ratio / highest * (Self.area.bottom - Self.area.top)
  }

  private var titles: [String] {
    let middle = (Self.area.top + Self.area.bottom) / 2
    return [
      text(
        "Reading 16 MiB through a storage service, in blocks", Self.area.left, 30,
        #" font-size="17" font-weight="bold""#),
      text(
        "bytes of one read", (Self.area.left + Self.area.right) / 2, Self.area.bottom + 62,
        #" text-anchor="middle""#),
      text(
        "time / time of native pread (less is better)", 24, middle,
        #" text-anchor="middle" transform="rotate(-90 24 "# + tenths(middle) + #")""#),
    ]
  }

  /// A line and a number for each step; the one at 1 is native speed.
  private var grid: [String] {
    (0...Int((highest / Self.gridStep).rounded())).flatMap { step in
      let ratio = Double(step) * Self.gridStep
      let isNative = ratio == 1
      return [
        segment(
          (Self.area.left, y(ratio)), (Self.area.right, y(ratio)),
          color: isNative || step == 0 ? Self.colors.native : "#e2e2e2"),
        text(
          rounded(ratio, to: 100), Self.area.left - 10, y(ratio) + 4.5, #" text-anchor="end""#),
      ]
    }
  }

  private var blockNames: [String] {
    points.indices.flatMap { index in
      let (place, bottom) = (x(index), Self.area.bottom)
      return [
        segment((place, bottom), (place, bottom + 5), color: Self.colors.native),
        text(
          blockName(points[index].blockBytes), place, bottom + 18,
          #" text-anchor="end" font-size="11" transform="rotate(-35 "#
            + tenths(place) + " " + tenths(bottom + 18) + #")""#),
      ]
    }
  }

  private func line(_ ratios: [Double], color: String, extra: String = "") -> String {
    let corners = ratios.indices.map { tenths(x($0)) + "," + tenths(y(ratios[$0])) }
    return #"<polyline fill="none" stroke=""# + color + #"" stroke-width="2""# + extra
      + #" points=""# + corners.joined(separator: " ") + #""/>"#
  }

  private var dots: [String] {
    points.indices.map { index in
      #"<circle r="3.5" fill=""# + Self.colors.ours + #"" cx=""# + tenths(x(index)) + #"" cy=""#
        + tenths(y(points[index].ratio)) + #""/>"#
    }
  }

  private var legend: [String] {
    let left = Self.area.right - 300
    let rows = [
      (Self.colors.ours, "", "vos, this machine"),
      (Self.colors.theirs, #" stroke-dasharray="7 5""#, "VirtuOS (SOSP '13), its machine"),
      (Self.colors.native, "", "native pread from tmpfs = 1"),
    ]
    return rows.indices.flatMap { index in
      let (color, dashes, name) = rows[index]
      let height = Self.area.top + 14 + Double(index) * 22
      return [
        segment((left, height), (left + 36, height), color: color, dashes),
        text(name, left + 46, height + 4.5, ""),
      ]
    }
  }

  private func segment(
    _ from: (Double, Double), _ to: (Double, Double), color: String, _ extra: String = ""
  ) -> String {
    #"<line x1=""# + tenths(from.0) + #"" y1=""# + tenths(from.1) + #"" x2=""# + tenths(to.0)
      + #"" y2=""# + tenths(to.1) + #"" stroke=""# + color + #"" stroke-width="1.5""# + extra + "/>"
  }

  private func text(_ words: String, _ x: Double, _ y: Double, _ extra: String) -> String {
    #"<text x=""# + tenths(x) + #"" y=""# + tenths(y) + #"""# + extra + ">" + words + "</text>"
  }
}
