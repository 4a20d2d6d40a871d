// SPDX-License-Identifier: Apache-2.0
// Looks at everything that a monitor offers a guest and says what is as it should be.
import MicroRuntime

Console.line("probe")
report("console", nil)
checkStartInfo()
checkTables()
checkMemory()
checkInterrupts()
checkUserMode()
checkPCI()
checkIvshmem()
