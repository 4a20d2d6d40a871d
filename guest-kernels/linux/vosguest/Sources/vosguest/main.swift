// SPDX-License-Identifier: Apache-2.0
import Guest

// Before anything else: process 1 has no /proc yet, where CommandLine finds its words.
runInitIfFirst()
runGuest(CommandLine.arguments)
