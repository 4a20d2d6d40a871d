// SPDX-License-Identifier: Apache-2.0
VosDaemon.main()
