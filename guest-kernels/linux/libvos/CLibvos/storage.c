/* SPDX-License-Identifier: Apache-2.0
 *
 * Static storage, all zero at start: Swift has no uninitialised globals of this
 * size. No code.
 */
#include "libvos_c.h"

union libvos_pages libvos_pages;
struct libvos_settings libvos_settings;
struct libvos_next libvos_next;

#define LIBVOS_NAME(result, name, arguments) #name,
const char *const libvos_next_names[] = {LIBVOS_NEXT(LIBVOS_NAME)};
