/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs of sockets: filters, and the choice among those with one port. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "numbers.h"

#define DROP 0
#define WHOLE 0xffff

/* The group whose sockets are chosen from. Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} group SEC(".maps");

/* Packets of the setting's length alone, headers included. */
SEC("socket")
int one_length(struct __sk_buff *skb)
{
	ran();
	show(skb->len);
	return skb->len == setting() ? WHOLE : DROP;
}

SEC("socket")
int nothing(struct __sk_buff *skb)
{
	ran();
	return DROP;
}

/* As a choice: the number of the socket. */
SEC("socket")
int by_number(struct __sk_buff *skb)
{
	ran();
	return setting();
}

SEC("sk_reuseport")
int by_setting(struct sk_reuseport_md *ctx)
{
	__u32 which = setting();

	ran();
	return bpf_sk_select_reuseport(ctx, &group, &which, 0) ? SK_DROP
							       : SK_PASS;
}

SEC("sk_reuseport/migrate")
int migrate(struct sk_reuseport_md *ctx)
{
	__u32 which = setting();

	ran();
	return bpf_sk_select_reuseport(ctx, &group, &which, 0) ? SK_DROP
							       : SK_PASS;
}

SEC("sk_reuseport")
int refuse(struct sk_reuseport_md *ctx)
{
	ran();
	return SK_DROP;
}

char LICENSE[] SEC("license") = "GPL";
