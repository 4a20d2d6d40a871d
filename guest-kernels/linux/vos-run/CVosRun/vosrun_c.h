/* SPDX-License-Identifier: Apache-2.0
 *
 * What vos-run needs of libc, and the first bytes of an ELF file. libc's own
 * headers do not import into Embedded Swift as a whole.
 */
#ifndef VOSRUN_C_H
#define VOSRUN_C_H
#include <stddef.h>
#include <stdint.h>

int *_Nonnull __errno_location(void);
char *_Nullable strerror(int error);
char *_Nullable getenv(const char *_Nonnull name);
int setenv(const char *_Nonnull name, const char *_Nonnull value, int overwrite);
int unsetenv(const char *_Nonnull name);
int execvp(const char *_Nonnull file, char *_Nullable const *_Nonnull arguments);
long readlink(const char *_Nonnull path, char *_Nonnull buffer, size_t bytes);
int access(const char *_Nonnull path, int mode);
int vosrun_open(const char *_Nonnull path, int flags) __asm__("open");
long pread(int descriptor, void *_Nonnull buffer, size_t bytes, long offset);
long write(int descriptor, const void *_Nonnull buffer, size_t bytes);
int close(int descriptor);
void exit(int status) __attribute__((noreturn));

/* Elf64_Ehdr and Elf64_Phdr (System V ABI, AMD64 supplement). */
struct vosrun_elf_header {
	uint8_t identity[16];
	uint16_t type;
	uint16_t machine;
	uint32_t version;
	uint64_t entry;
	uint64_t segments_offset;
	uint64_t sections_offset;
	uint32_t flags;
	uint16_t header_bytes;
	uint16_t segment_bytes;
	uint16_t segment_count;
	uint16_t section_bytes;
	uint16_t section_count;
	uint16_t names;
};
struct vosrun_elf_segment {
	uint32_t type;
	uint32_t flags;
	uint64_t offset;
	uint64_t address;
	uint64_t physical;
	uint64_t file_bytes;
	uint64_t memory_bytes;
	uint64_t alignment;
};

#endif /* VOSRUN_C_H */
