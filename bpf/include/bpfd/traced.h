/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Texts that a traced function is given.
 *
 * With the macro TEXTS_OF_PROCESS addresses are those of the process that runs;
 * else of the kernel or of the process: which of both, the address says.
 */
#ifndef BPFD_TRACED_H
#define BPFD_TRACED_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>

/* Reads a text of at most BYTES with its NUL; empty where there is none. */
static __always_inline void read_text(char *text, __u32 bytes,
				      const void *address)
{
#ifndef TEXTS_OF_PROCESS
	if (bpf_probe_read_kernel_str(text, bytes, address) >= 0)
		return;
#endif
	if (bpf_probe_read_user_str(text, bytes, address) < 0)
		text[0] = 0;
}

/* Whether the first BYTES of a text, a constant, are those of WANTED. */
static __always_inline bool is_text(const char *text, const char *wanted,
				    __u32 bytes)
{
#pragma clang loop unroll(full)
	for (__u32 at = 0; at < bytes; at++)
		if (text[at] != wanted[at])
			return false;
	return true;
}

#endif
