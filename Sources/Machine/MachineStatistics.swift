// SPDX-License-Identifier: Apache-2.0
public import KVM

extension Machine {
  /// KVM's statistics of virtual CPU `index`, live; `nil` if there is no such CPU.
  ///
  /// Ask before `run`: while a CPU runs, KVM lets nobody open them. What was opened stays readable.
  public func statistics(ofCPU index: Int) throws(MachineError) -> Statistics? {
    guard cpus.indices.contains(index) else { return nil }
    do throws(KVMError) { return try cpus[index].cpu.statistics() } catch { throw .kvm(error) }
  }
}
