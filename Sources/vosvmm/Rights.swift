// SPDX-License-Identifier: Apache-2.0
import CLinux
import Glibc
import LinuxSystem
import Machine

/// Closes what the parent left open by mistake, from `first` on.
func closeInheritedDescriptors(from first: Int32) {
  // An old kernel without the call leaves them open, which is no worse than before.
  _ = clinux_close_range(UInt32(first), .max)
}

/// Gives up what the monitor does not need once it is set up; before any thread is started, since
/// Linux keeps these rights per thread.
///
/// - No new privileges by exec.
/// - No capability, whoever the user is.
/// - No core dump: it would hold the guest's memory and keys. For the same reason other monitors,
///   which have the same user, may not trace this one.
/// - No more open files than needed.
///
/// `confineSystemCalls` does the rest.
func dropRights() throws(SystemCallError) {
  try limit(__rlimit_resource_t(RLIMIT_CORE.rawValue), to: 0, "core dumps")
  try limit(__rlimit_resource_t(RLIMIT_NOFILE.rawValue), to: 1024, "open files")
  try retrying("keep others of this user out") { clinux_no_dump() }
  try retrying("give up new privileges") { clinux_no_new_privileges() }
  try retrying("drop all capabilities") { clinux_drop_capabilities() }
}

/// How the filter of system calls is switched off, or made to tell only: for debugging. Whoever
/// starts vosd can do so; a guest cannot.
let filterVariable = "VOS_SYSTEM_CALL_FILTER"

/// What `filterVariable` says.
enum FilterMode: String {
  case on
  /// Refused calls are made, and told of in the kernel's log.
  case log
  case off
}

/// How the environment wants the filter; a word that means nothing is as good as none.
func filterMode() -> FilterMode {
  // SAFETY: the value is copied at once; nothing here changes the environment.
  let word = unsafe getenv(filterVariable).map { unsafe String(cString: $0) }
  return word.flatMap(FilterMode.init(rawValue:)) ?? .on
}

/// Leaves the calls of a running machine alone to this process; once all its threads are started.
func confineSystemCalls(_ mode: FilterMode) throws(SystemCallError) {
  switch mode {
  case .on: try SystemCallFilter.monitor(process: getpid()).install()
  case .log: try SystemCallFilter.monitor(process: getpid(), refusal: .log).install()
  case .off: break
  }
}

/// Lets a crash be what the kernel makes of it. A handler would want to run a program that reads
/// this process, which it must not: the crash would look like a forbidden call.
func leaveCrashesToTheKernel() {
  for number in [SIGILL, SIGTRAP, SIGABRT, SIGFPE, SIGBUS, SIGSEGV, SIGQUIT] {
    signal(number, SIG_DFL)
  }
}

private func limit(
  _ resource: __rlimit_resource_t, to value: UInt, _ what: String
) throws(SystemCallError) {
  var limits = rlimit()
  try retrying("read the limit of \(what)") {
    // SAFETY: the call fills a local of its type.
    unsafe getrlimit(resource, &limits)
  }
  limits.rlim_cur = min(limits.rlim_cur, value)
  limits.rlim_max = min(limits.rlim_max, value)
  try retrying("limit \(what)") {
    // SAFETY: the call reads a local of its type.
    unsafe setrlimit(resource, &limits)
  }
}
