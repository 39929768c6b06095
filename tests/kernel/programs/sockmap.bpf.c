/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs on what the sockets of a map send and receive. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "numbers.h"

#define FIRST 0
#define SECOND 1

/* What comes to the first goes to the second. Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} sockets SEC(".maps");

/* Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKHASH);
	__uint(max_entries, 2);
	__type(key, __u64);
	__type(value, __u32);
} hashed SEC(".maps");

/* Nothing can be sent. */
SEC("sk_msg")
int forbid(struct sk_msg_md *msg)
{
	ran();
	show(msg->size);
	return SK_DROP;
}

SEC("sk_msg")
int allow(struct sk_msg_md *msg)
{
	ran();
	return SK_PASS;
}

/* Past the network, to whom the second socket belongs. */
SEC("sk_msg")
int shorten(struct sk_msg_md *msg)
{
	ran();
	return bpf_msg_redirect_map(msg, &sockets, SECOND, BPF_F_INGRESS);
}

SEC("sk_skb/stream_parser")
int whole(struct __sk_buff *skb)
{
	show(skb->len);
	return skb->len;
}

SEC("sk_skb/stream_verdict")
int stream_to_second(struct __sk_buff *skb)
{
	ran();
	return bpf_sk_redirect_map(skb, &sockets, SECOND, BPF_F_INGRESS);
}

SEC("sk_skb/verdict")
int to_second(struct __sk_buff *skb)
{
	ran();
	return bpf_sk_redirect_map(skb, &sockets, SECOND, BPF_F_INGRESS);
}

SEC("sk_skb/verdict")
int pass(struct __sk_buff *skb)
{
	ran();
	return SK_PASS;
}

char LICENSE[] SEC("license") = "GPL";
