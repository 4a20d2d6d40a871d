/* SPDX-License-Identifier: Apache-2.0
 *
 * A library that is loaded while threads run: its thread-local storage lies among the static one, so
 * that the dynamic linker must fill it in for every thread there is.
 */
static __thread int fixed __attribute__((tls_model("initial-exec"))) = 5;
static __thread int counted = 7;

int late_value(void) { return fixed * 10 + counted++; }
