/* SPDX-License-Identifier: Apache-2.0
 *
 * KVM's ioctl numbers as constants (Documentation/virt/kvm/api.rst); the
 * structures come from the kernel's own header.
 *
 * The kernel's numbers are function-like macros, which Swift cannot import.
 * Each constant below is defined as the macro's value, so it cannot differ
 * from it; the assertions pin the ABI numbers themselves.
 */
#ifndef CLINUX_KVM_H
#define CLINUX_KVM_H

#include <linux/kvm.h>
#include <signal.h>
#include <stddef.h>
#include <stdint.h>

/* On /dev/kvm. */
static const unsigned long CLINUX_KVM_GET_API_VERSION = KVM_GET_API_VERSION;
static const unsigned long CLINUX_KVM_CREATE_VM = KVM_CREATE_VM;
static const unsigned long CLINUX_KVM_CHECK_EXTENSION = KVM_CHECK_EXTENSION;
static const unsigned long CLINUX_KVM_GET_VCPU_MMAP_SIZE = KVM_GET_VCPU_MMAP_SIZE;
static const unsigned long CLINUX_KVM_GET_SUPPORTED_CPUID = KVM_GET_SUPPORTED_CPUID;

/* On a virtual machine. */
static const unsigned long CLINUX_KVM_CREATE_VCPU = KVM_CREATE_VCPU;
static const unsigned long CLINUX_KVM_SET_USER_MEMORY_REGION = KVM_SET_USER_MEMORY_REGION;
static const unsigned long CLINUX_KVM_SET_TSS_ADDR = KVM_SET_TSS_ADDR;
static const unsigned long CLINUX_KVM_SET_IDENTITY_MAP_ADDR = KVM_SET_IDENTITY_MAP_ADDR;
static const unsigned long CLINUX_KVM_CREATE_IRQCHIP = KVM_CREATE_IRQCHIP;
static const unsigned long CLINUX_KVM_IRQ_LINE = KVM_IRQ_LINE;
static const unsigned long CLINUX_KVM_SET_GSI_ROUTING = KVM_SET_GSI_ROUTING;
static const unsigned long CLINUX_KVM_IRQFD = KVM_IRQFD;
static const unsigned long CLINUX_KVM_IOEVENTFD = KVM_IOEVENTFD;
static const unsigned long CLINUX_KVM_SIGNAL_MSI = KVM_SIGNAL_MSI;
static const unsigned long CLINUX_KVM_GET_STATS_FD = KVM_GET_STATS_FD;

/* On a virtual CPU. */
static const unsigned long CLINUX_KVM_RUN = KVM_RUN;
static const unsigned long CLINUX_KVM_GET_REGS = KVM_GET_REGS;
static const unsigned long CLINUX_KVM_SET_REGS = KVM_SET_REGS;
static const unsigned long CLINUX_KVM_GET_SREGS = KVM_GET_SREGS;
static const unsigned long CLINUX_KVM_SET_SREGS = KVM_SET_SREGS;
static const unsigned long CLINUX_KVM_SET_FPU = KVM_SET_FPU;
static const unsigned long CLINUX_KVM_SET_XCRS = KVM_SET_XCRS;
static const unsigned long CLINUX_KVM_SET_CPUID2 = KVM_SET_CPUID2;
static const unsigned long CLINUX_KVM_GET_MSRS = KVM_GET_MSRS;
static const unsigned long CLINUX_KVM_SET_MSRS = KVM_SET_MSRS;
static const unsigned long CLINUX_KVM_GET_LAPIC = KVM_GET_LAPIC;
static const unsigned long CLINUX_KVM_SET_LAPIC = KVM_SET_LAPIC;
static const unsigned long CLINUX_KVM_GET_MP_STATE = KVM_GET_MP_STATE;
static const unsigned long CLINUX_KVM_SET_MP_STATE = KVM_SET_MP_STATE;

_Static_assert(KVM_RUN == 0xae80UL, "KVM_RUN");
_Static_assert(KVM_CREATE_VM == 0xae01UL, "KVM_CREATE_VM");
_Static_assert(KVM_SET_USER_MEMORY_REGION == 0x4020ae46UL, "KVM_SET_USER_MEMORY_REGION");
_Static_assert(KVM_SET_GSI_ROUTING == 0x4008ae6aUL, "KVM_SET_GSI_ROUTING");
_Static_assert(KVM_IRQFD == 0x4020ae76UL, "KVM_IRQFD");
_Static_assert(KVM_IOEVENTFD == 0x4040ae79UL, "KVM_IOEVENTFD");
_Static_assert(KVM_SET_CPUID2 == 0x4008ae90UL, "KVM_SET_CPUID2");
_Static_assert(KVM_GET_REGS == 0x8090ae81UL, "KVM_GET_REGS");
_Static_assert(KVM_GET_STATS_FD == 0xaeceUL, "KVM_GET_STATS_FD");

/* struct kvm_run, whose union Swift would copy whole: where its fields are. */
enum {
	CLINUX_RUN_IMMEDIATE_EXIT = offsetof(struct kvm_run, immediate_exit),
	CLINUX_RUN_EXIT_REASON = offsetof(struct kvm_run, exit_reason),
	CLINUX_RUN_IO_DIRECTION = offsetof(struct kvm_run, io.direction),
	CLINUX_RUN_IO_SIZE = offsetof(struct kvm_run, io.size),
	CLINUX_RUN_IO_PORT = offsetof(struct kvm_run, io.port),
	CLINUX_RUN_IO_COUNT = offsetof(struct kvm_run, io.count),
	CLINUX_RUN_IO_DATA_OFFSET = offsetof(struct kvm_run, io.data_offset),
	CLINUX_RUN_MMIO_ADDRESS = offsetof(struct kvm_run, mmio.phys_addr),
	CLINUX_RUN_MMIO_DATA = offsetof(struct kvm_run, mmio.data),
	CLINUX_RUN_MMIO_LENGTH = offsetof(struct kvm_run, mmio.len),
	CLINUX_RUN_MMIO_IS_WRITE = offsetof(struct kvm_run, mmio.is_write),
	CLINUX_RUN_SUBERROR = offsetof(struct kvm_run, internal.suberror),
	CLINUX_RUN_ENTRY_REASON = offsetof(struct kvm_run, fail_entry.hardware_entry_failure_reason),
	CLINUX_RUN_SYSTEM_EVENT = offsetof(struct kvm_run, system_event.type),
};
_Static_assert(KVM_EXIT_IO_IN == 0 && KVM_EXIT_IO_OUT == 1, "direction of a port access");

/*
 * Installs a handler that does nothing for `signal_number`, without
 * SA_RESTART: the signal only ends a blocking call.
 */
int clinux_ignore_signal_but_interrupt(int signal_number);

#endif /* CLINUX_KVM_H */
