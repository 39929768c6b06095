/* SPDX-License-Identifier: GPL-2.0-only */
/* A security hook of a cgroup: its sockets cannot be bound. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "numbers.h"

SEC("lsm_cgroup/socket_bind")
int no_bind(void *ctx)
{
	ran();
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
