/* SPDX-License-Identifier: GPL-2.0-only */
/* Objects to load, replace and refuse. VERSION and the other macros make variants. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef VERSION
#define VERSION 1
#endif
#ifdef WIDE
struct value {
	__u64 runs;
	__u64 more;
};
#else
struct value {
	__u64 runs;
};
#endif

/* Runs by version. Written by count_packets and count_switches. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, struct value);
} obj_runs SEC(".maps");

/* Shared between objects by name. */
#ifdef PIN_BY_NAME
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__uint(pinning, LIBBPF_PIN_BY_NAME);
	__type(key, __u32);
	__type(value, __u64);
} obj_shared SEC(".maps");
#endif

const volatile __u32 verdict = XDP_PASS;
const volatile __u32 watched_pid;

static __always_inline void count(void)
{
	__u32 key = VERSION;
	struct value one = { .runs = 1 }, *value;

	value = bpf_map_lookup_elem(&obj_runs, &key);
	if (value)
		__sync_fetch_and_add(&value->runs, 1);
	else
		bpf_map_update_elem(&obj_runs, &key, &one, BPF_NOEXIST);
}

SEC("xdp")
int count_packets(struct xdp_md *ctx)
{
	count();
	return verdict;
}

#ifndef WITHOUT_SWITCHES
SEC("raw_tp/sched_switch")
int count_switches(void *ctx)
{
	if (watched_pid && bpf_get_current_pid_tgid() >> 32 != watched_pid)
		return 0;
	count();
	return 0;
}
#endif

#ifdef REFUSED
SEC("xdp")
int reads_beyond(struct xdp_md *ctx)
{
	char *data = (char *)(long)ctx->data;

	return data[100]; /* no bounds check */
}
#endif

#ifdef UNKNOWN_SECTION
SEC("nobody_knows_this")
int unknown(void *ctx)
{
	return 0;
}
#endif

#ifdef SLOW
/* As long as the verifier goes along with: close to its million instructions. */
SEC("xdp")
int slow_to_verify(struct xdp_md *ctx)
{
	__u32 i, sum = 0;

#pragma clang loop unroll(disable)
	for (i = 0; i < 150000; i++)
		sum += bpf_get_prandom_u32() * i;
	return sum > 7 ? XDP_PASS : XDP_DROP;
}
#endif

char LICENSE[] SEC("license") = "GPL";
