/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs for test runs: one of each type that the kernel runs on request, and some that
 * it does not.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/ip.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Packets by protocol. Written by answer. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 256);
	__type(key, __u8);
	__type(value, __u64);
} protocols SEC(".maps");

/* Packets of any kind, at 0. Written by answer. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} packets SEC(".maps");

const volatile __u32 limit = 100;

static __always_inline void count(__u8 protocol)
{
	__u64 one = 1, *found = bpf_map_lookup_elem(&protocols, &protocol);
	__u32 zero = 0;

	if (found)
		__sync_fetch_and_add(found, 1);
	else
		bpf_map_update_elem(&protocols, &protocol, &one, BPF_ANY);
	found = bpf_map_lookup_elem(&packets, &zero);
	if (found)
		(*found)++;
}

/* UDP goes back with exchanged addresses, ICMP in a tunnel, TCP nowhere; others pass. */
SEC("xdp")
int answer(struct xdp_md *ctx)
{
	void *end = (void *)(long)ctx->data_end;
	struct ethhdr *eth = (void *)(long)ctx->data;
	struct iphdr *ip = (void *)(eth + 1);
	struct ethhdr old;

	if ((void *)(ip + 1) > end || eth->h_proto != bpf_htons(ETH_P_IP))
		return XDP_PASS;
	count(ip->protocol);
	old = *eth;
	switch (ip->protocol) {
	case IPPROTO_UDP:
		__builtin_memcpy(eth->h_dest, old.h_source, ETH_ALEN);
		__builtin_memcpy(eth->h_source, old.h_dest, ETH_ALEN);
		ip->ttl--;
		return XDP_TX;
	case IPPROTO_ICMP: {
		struct iphdr inner = *ip;

		if (bpf_xdp_adjust_head(ctx, -(int)sizeof(inner)))
			return XDP_ABORTED;
		end = (void *)(long)ctx->data_end;
		eth = (void *)(long)ctx->data;
		ip = (void *)(eth + 1);
		if ((void *)(ip + 1) > end)
			return XDP_ABORTED;
		*eth = old;
		*ip = inner;
		ip->protocol = IPPROTO_IPIP;
		ip->tot_len = bpf_htons(bpf_ntohs(inner.tot_len) + sizeof(inner));
		return XDP_TX;
	}
	case IPPROTO_TCP:
		return XDP_DROP;
	}
	return XDP_PASS;
}

/* Verdict 5 is none; the others by interface. */
SEC("xdp")
int by_interface(struct xdp_md *ctx)
{
	return ctx->ingress_ifindex == 1 ? XDP_REDIRECT : 5;
}

SEC("xdp/devmap")
int behind(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("tc")
int mark(struct __sk_buff *skb)
{
	skb->mark += 1;
	skb->cb[1] = skb->ingress_ifindex;
	return skb->mark > limit ? TC_ACT_SHOT : TC_ACT_OK;
}

SEC("socket")
int first_bytes(struct __sk_buff *skb)
{
	return skb->len > 60 ? 20 : 0;
}

SEC("cgroup_skb/egress")
int allow(struct __sk_buff *skb)
{
	return skb->len > 50;
}

SEC("flow_dissector")
int dissect(struct __sk_buff *skb)
{
	skb->flow_keys->ip_proto = IPPROTO_UDP;
	skb->flow_keys->dport = bpf_htons(53);
	return BPF_OK;
}

SEC("sk_lookup")
int choose(struct bpf_sk_lookup *ctx)
{
	return ctx->local_port == 80 ? SK_PASS : SK_DROP;
}

SEC("raw_tp/sched_switch")
int sum(struct bpf_raw_tracepoint_args *ctx)
{
	return ctx->args[0] + ctx->args[1];
}

/* The kernel has no test runs of these. */
SEC("tracepoint/sched/sched_switch")
int on_switch(void *ctx)
{
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
