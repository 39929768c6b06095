/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs of network namespaces. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "numbers.h"

/* The socket that gets what comes in. Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} listeners SEC(".maps");

/* Connections to the port of the setting go to the listener. */
SEC("sk_lookup")
int to_listener(struct bpf_sk_lookup *ctx)
{
	__u32 first = 0;
	struct bpf_sock *socket;

	if (ctx->local_port != setting())
		return SK_PASS;
	ran();
	socket = bpf_map_lookup_elem(&listeners, &first);
	if (!socket)
		return SK_DROP;
	bpf_sk_assign(ctx, socket, 0);
	bpf_sk_release(socket);
	return SK_PASS;
}

SEC("sk_lookup")
int dropped(struct bpf_sk_lookup *ctx)
{
	if (ctx->local_port != setting())
		return SK_PASS;
	ran();
	return SK_DROP;
}

/* Every packet is of a flow of its own kind. */
SEC("flow_dissector")
int one_flow(struct __sk_buff *skb)
{
	struct bpf_flow_keys *keys = skb->flow_keys;

	ran();
	keys->ip_proto = setting();
	return BPF_OK;
}

SEC("flow_dissector")
int no_flow(struct __sk_buff *skb)
{
	ran();
	return BPF_DROP;
}

char LICENSE[] SEC("license") = "GPL";
