/* SPDX-License-Identifier: Apache-2.0
 *
 * KVM's ioctl numbers as constants (Documentation/virt/kvm/api.rst); the
 * structures come from the kernel's own header.
 */
#ifndef CLINUX_KVM_H
#define CLINUX_KVM_H

#include <linux/kvm.h>

#endif /* CLINUX_KVM_H */
