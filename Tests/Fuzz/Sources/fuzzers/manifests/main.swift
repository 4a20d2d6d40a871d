// SPDX-License-Identifier: Apache-2.0
import FuzzKit
import Manifest

// Manifests. Input: the text.
fuzz { input in
  let text = String(decoding: input.takeAll(), as: UTF8.self)
  do throws(ManifestError) {
    let manifest = try Manifest.parse(
      text, file: "system.yaml", absolutePath: "/tmp/system.yaml", checkFiles: false)
    expect(manifest.domain(manifest.primary) != nil, "a system without its primary domain")
    expect(manifest.domains.count <= ManifestLimits.domains, "more domains than there may be")
  } catch {
    expect(!error.diagnostics.isEmpty, "a manifest was refused without a word")
  }
}
