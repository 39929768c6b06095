/* SPDX-License-Identifier: GPL-2.0-only */
/* libbpf's header of this name, its reads made right for 32-bit targets: reads.h. */
#include_next <bpf/bpf_core_read.h>

#ifndef BPFD_TARGET32_CORE_READ_H
#define BPFD_TARGET32_CORE_READ_H

#undef bpf_core_read
#define bpf_core_read(to, size, from)                      \
	BPFD_READ((bpf_probe_read_kernel), to, size, from, \
		  (const void *)__builtin_preserve_access_index(from))

#undef bpf_core_read_user
#define bpf_core_read_user(to, size, from)               \
	BPFD_READ((bpf_probe_read_user), to, size, from, \
		  (const void *)__builtin_preserve_access_index(from))

#endif
