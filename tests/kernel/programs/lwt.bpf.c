/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs in routes. Each counts the packets that it is shown, and may drop them. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum packets {
	PACKETS_IN,
	PACKETS_OUT,
	PACKETS_XMIT,
	PACKETS_PASSED,
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

SEC("lwt_in")
int in_drops(struct __sk_buff *skb)
{
	count(PACKETS_IN);
	return BPF_DROP;
}

SEC("lwt_out")
int out_drops(struct __sk_buff *skb)
{
	count(PACKETS_OUT);
	return BPF_DROP;
}

SEC("lwt_xmit")
int xmit_drops(struct __sk_buff *skb)
{
	count(PACKETS_XMIT);
	return BPF_DROP;
}

SEC("lwt_xmit")
int xmit_passes(struct __sk_buff *skb)
{
	count(PACKETS_PASSED);
	return BPF_OK;
}

char LICENSE[] SEC("license") = "GPL";
