/* SPDX-License-Identifier: GPL-2.0-only */
/* A type that no kernel has: what is known of it comes from BTF that is sent along. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

struct bpfd_made_up {
	int first;
	int moved;
} __attribute__((preserve_access_index));

char LICENSE[] SEC("license") = "GPL";

SEC("xdp")
int offset_of_moved(struct xdp_md *context)
{
	if (!bpf_core_type_exists(struct bpfd_made_up))
		return 0;
	return bpf_core_field_offset(struct bpfd_made_up, moved);
}
