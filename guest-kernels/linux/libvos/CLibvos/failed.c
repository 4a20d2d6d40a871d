/* SPDX-License-Identifier: Apache-2.0
 *
 * As a function of the C library fails. vos-load has its own.
 */
#include "libvos_c.h"

long libvos_failed(long error)
{
	*__errno_location() = (int)-error;
	return -1;
}
