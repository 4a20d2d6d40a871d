/* SPDX-License-Identifier: Apache-2.0
 *
 * What vos-run needs of libc, and the first bytes of an ELF file. libc's own
 * headers do not import into Embedded Swift as a whole.
 */
#ifndef VOSRUN_C_H
#define VOSRUN_C_H
#include <stddef.h>
#include <stdint.h>

#include "../../libvos/CLibvos/elf.h"

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

#endif /* VOSRUN_C_H */
