/* SPDX-License-Identifier: Apache-2.0
 *
 * Elf64_Ehdr and Elf64_Phdr (System V ABI, AMD64 supplement), for libvos, vos-load and vos-run:
 * libc's own header does not import into Embedded Swift.
 */
#ifndef VOS_ELF_H
#define VOS_ELF_H

#include <stdint.h>

struct vos_elf_header {
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
struct vos_elf_segment {
	uint32_t type;
	uint32_t flags;
	uint64_t offset;
	uint64_t address;
	uint64_t physical;
	uint64_t file_bytes;
	uint64_t memory_bytes;
	uint64_t alignment;
};

#endif /* VOS_ELF_H */
