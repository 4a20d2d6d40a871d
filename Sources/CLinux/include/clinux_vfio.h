/* SPDX-License-Identifier: Apache-2.0
 *
 * VFIO's ioctl numbers as constants (Documentation/driver-api/vfio.rst); the
 * structures come from the kernel's own header.
 */
#ifndef CLINUX_VFIO_H
#define CLINUX_VFIO_H

#include <linux/vfio.h>

#endif /* CLINUX_VFIO_H */
