/* SPDX-License-Identifier: GPL-2.0-only */
/* A TCP congestion control that counts, in two versions of one name (-DSECOND), and in both
 * sections that libbpf knows (-DLINK). */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

#ifndef SECOND
#define VERSION 1
#else
#define VERSION 2
#endif

#ifdef LINK
#define SECTION ".struct_ops.link"
#else
#define SECTION ".struct_ops"
#endif

#pragma clang attribute push(__attribute__((preserve_access_index)), apply_to = record)

struct sock;

struct tcp_sock {
	__u32 snd_cwnd;
};

struct tcp_congestion_ops {
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 (*undo_cwnd)(struct sock *sk);
	char name[16];
};

#pragma clang attribute pop

/* Times that a congestion window grew. Written here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} grown SEC(".maps");

static __always_inline struct tcp_sock *tcp(struct sock *sk)
{
	return (struct tcp_sock *)sk;
}

SEC("struct_ops/cc_ssthresh")
__u32 BPF_PROG(cc_ssthresh, struct sock *sk)
{
	__u32 half = tcp(sk)->snd_cwnd / 2;

	return half > 2 ? half : 2;
}

SEC("struct_ops/cc_cong_avoid")
void BPF_PROG(cc_cong_avoid, struct sock *sk, __u32 ack, __u32 acked)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&grown, &zero);

	if (count)
		__sync_fetch_and_add(count, VERSION);
	if (tcp(sk)->snd_cwnd < 100)
		tcp(sk)->snd_cwnd += 1;
}

SEC("struct_ops/cc_undo_cwnd")
__u32 BPF_PROG(cc_undo_cwnd, struct sock *sk)
{
	return tcp(sk)->snd_cwnd;
}

SEC(SECTION)
struct tcp_congestion_ops counting = {
	.ssthresh = (void *)cc_ssthresh,
	.cong_avoid = (void *)cc_cong_avoid,
	.undo_cwnd = (void *)cc_undo_cwnd,
	.name = "bpfd_counting",
};

char LICENSE[] SEC("license") = "GPL";
