/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs at netfilter's hooks. Each counts the packets that it is shown. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define NF_DROP 0
#define NF_ACCEPT 1

enum packets {
	PACKETS_DROPPED,
	PACKETS_ACCEPTED,
	PACKETS_MAX,
};

/* By enum packets. Written here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, PACKETS_MAX);
	__type(key, __u32);
	__type(value, __u64);
} packets SEC(".maps");

static __always_inline void count(__u32 which)
{
	__u64 *value = bpf_map_lookup_elem(&packets, &which);

	if (value)
		__sync_fetch_and_add(value, 1);
}

SEC("netfilter")
int drops(void *ctx)
{
	count(PACKETS_DROPPED);
	return NF_DROP;
}

SEC("netfilter")
int accepts(void *ctx)
{
	count(PACKETS_ACCEPTED);
	return NF_ACCEPT;
}

char LICENSE[] SEC("license") = "GPL";
