/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs on netkit devices. Each counts the IPv4 packets that it is shown. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_endian.h>

#define NETKIT_NEXT -1
#define NETKIT_DROP 2
#define ETH_P_IP 0x0800

enum packets {
	PACKETS_DROPPED,
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

static __always_inline void count(struct __sk_buff *skb, __u32 which)
{
	__u64 *value = bpf_map_lookup_elem(&packets, &which);

	if (value && skb->protocol == bpf_htons(ETH_P_IP))
		__sync_fetch_and_add(value, 1);
}

SEC("netkit/primary")
int drops(struct __sk_buff *skb)
{
	count(skb, PACKETS_DROPPED);
	return NETKIT_DROP;
}

SEC("netkit/primary")
int passes(struct __sk_buff *skb)
{
	count(skb, PACKETS_PASSED);
	return NETKIT_NEXT;
}

SEC("netkit/peer")
int peer_drops(struct __sk_buff *skb)
{
	count(skb, PACKETS_DROPPED);
	return NETKIT_DROP;
}

char LICENSE[] SEC("license") = "GPL";
