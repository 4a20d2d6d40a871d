/* SPDX-License-Identifier: Apache-2.0
 * Instructions and symbols that Swift cannot name. */
#ifndef MICRO_H
#define MICRO_H
#include <stdint.h>

/* What an interrupt stub saved; the tail is the processor's. */
struct micro_frame {
	uint64_t r15, r14, r13, r12, r11, r10, r9, r8, rdi, rsi, rbp, rbx, rdx, rcx, rax;
	uint64_t vector, error;
	uint64_t rip, cs, rflags, rsp, ss;
};

/* entry.S */
int64_t micro_enter_user(uint64_t entry, uint64_t context, uint64_t stack);
void micro_leave_user(int64_t value) __attribute__((noreturn));
int64_t micro_call(uint64_t number, uint64_t argument);

static inline void micro_out8(uint16_t port, uint8_t value)
{
	__asm__ volatile("outb %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint8_t micro_in8(uint16_t port)
{
	uint8_t value;
	__asm__ volatile("inb %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline void micro_out16(uint16_t port, uint16_t value)
{
	__asm__ volatile("outw %0, %1" : : "a"(value), "Nd"(port));
}

static inline void micro_out32(uint16_t port, uint32_t value)
{
	__asm__ volatile("outl %0, %1" : : "a"(value), "Nd"(port));
}

static inline uint32_t micro_in32(uint16_t port)
{
	uint32_t value;
	__asm__ volatile("inl %1, %0" : "=a"(value) : "Nd"(port));
	return value;
}

static inline uint64_t micro_read_msr(uint32_t number)
{
	uint32_t low, high;
	__asm__ volatile("rdmsr" : "=a"(low), "=d"(high) : "c"(number));
	return (uint64_t)high << 32 | low;
}

static inline void micro_write_msr(uint32_t number, uint64_t value)
{
	__asm__ volatile("wrmsr" : : "a"((uint32_t)value), "d"((uint32_t)(value >> 32)),
			 "c"(number) : "memory");
}

/* One MMIO access of 4 bytes. */
static inline uint32_t micro_read32(uint64_t address)
{
	uint32_t value;
	__asm__ volatile("movl (%1), %0" : "=r"(value) : "r"(address) : "memory");
	return value;
}

static inline void micro_write32(uint64_t address, uint32_t value)
{
	__asm__ volatile("movl %0, (%1)" : : "r"(value), "r"(address) : "memory");
}

/* The time stamp after all earlier loads; later instructions wait for it. */
static inline uint64_t micro_ticks(void)
{
	uint32_t low, high;
	__asm__ volatile("lfence\n\trdtsc\n\tlfence" : "=a"(low), "=d"(high) : : "memory");
	return (uint64_t)high << 32 | low;
}

/* Copies between blocks that do not overlap. From about 256 bytes on the
 * processor's own loop is the fastest there is without vector registers; it also
 * writes whole lines without reading them first. Below, its start costs more. */
static inline void micro_copy(void *to, const void *from, uint64_t count)
{
	typedef uint64_t __attribute__((aligned(1), may_alias)) word;
	unsigned char *target = to;
	const unsigned char *source = from;
	if (count >= 256) {
		__asm__ volatile("rep movsb" : "+D"(to), "+S"(from), "+c"(count) : : "memory");
		return;
	}
	for (; count >= 8; count -= 8, target += 8, source += 8) {
		*(word *)target = *(const word *)source;
		/* Or the compiler makes a call of memcpy out of it. */
		__asm__ volatile("" : : : "memory");
	}
	for (; count; count--)
		*target++ = *source++;
}

struct micro_table_pointer {
	uint16_t limit;
	uint64_t base;
} __attribute__((packed));

static inline void micro_load_idt(uint64_t base, uint16_t limit)
{
	struct micro_table_pointer pointer = { limit, base };
	__asm__ volatile("lidt %0" : : "m"(pointer));
}

static inline void micro_load_task(uint16_t selector)
{
	__asm__ volatile("ltr %0" : : "r"(selector));
}

/* Makes the processor forget translations. */
static inline void micro_flush_translations(void)
{
	uint64_t root;
	__asm__ volatile("movq %%cr3, %0\n\tmovq %0, %%cr3" : "=r"(root) : : "memory");
}

static inline void micro_interrupts_off(void) { __asm__ volatile("cli" : : : "memory"); }
static inline void micro_interrupts_on(void) { __asm__ volatile("sti" : : : "memory"); }

/* Waits for an interrupt, without losing one that is due. */
static inline void micro_wait(void) { __asm__ volatile("sti\n\thlt" : : : "memory"); }

static inline void micro_halt(void) { __asm__ volatile("cli\n\thlt" : : : "memory"); }

/* Addresses of what the linker and entry.S placed. */
#define MICRO_ADDRESS(name) \
	static inline uint64_t micro_address_of_##name(void) \
	{ \
		extern char micro_##name[]; \
		return (uint64_t)micro_##name; \
	}
MICRO_ADDRESS(user_start)
MICRO_ADDRESS(user_end)
MICRO_ADDRESS(end)
MICRO_ADDRESS(page_root)
MICRO_ADDRESS(page_pool)
MICRO_ADDRESS(page_pool_end)
MICRO_ADDRESS(gdt)
MICRO_ADDRESS(idt)
MICRO_ADDRESS(task_state)
MICRO_ADDRESS(stubs)
MICRO_ADDRESS(call_trap)
MICRO_ADDRESS(interrupt_stack_end)
MICRO_ADDRESS(fault_stack_end)
MICRO_ADDRESS(user_stack_end)

/* Lets the stub of the first device vector count interrupts in the 64-bit word at
 * `address`, which is mapped; works in ring 3 too. */
static inline void micro_count_interrupts(uint64_t address)
{
	extern uint64_t micro_interrupt_counter;
	__atomic_store_n(&micro_interrupt_counter, address, __ATOMIC_RELEASE);
}

/* The word of micro_count_interrupts. */
static inline uint64_t micro_counted_interrupts(void)
{
	extern uint64_t micro_interrupt_counter;
	return __atomic_load_n((const uint64_t *)micro_interrupt_counter, __ATOMIC_ACQUIRE);
}

static inline uint64_t micro_start_info_address(void)
{
	extern uint64_t micro_start_info;
	return micro_start_info;
}

#endif
