/* SPDX-License-Identifier: GPL-2.0-only */
/* Code of all kinds, to be shown: functions, callbacks, tail calls, globals, atomics. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Programs that tail calls go to. Written by the test. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u32);
} code_jumps SEC(".maps");

/* Sums by CPU. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} code_sums SEC(".maps");

/* Anything by anything. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u64);
	__type(value, __u64);
} code_table SEC(".maps");

const volatile __u32 code_limit = 100;
__u64 code_seen[4];
__s64 code_total;

static long code_callback(__u32 index, void *context)
{
	*(__u64 *)context += index;
	return index > code_limit;
}

static __attribute__((noinline)) __u64 code_static(__u64 value)
{
	__u64 *known = bpf_map_lookup_elem(&code_table, &value);

	return known ? *known : value * 3;
}

__attribute__((noinline)) int code_global(__u32 value)
{
	__u32 key = value & 3;
	__u64 *sum = bpf_map_lookup_elem(&code_sums, &key);

	if (sum)
		*sum += value;
	return value % 7;
}

SEC("xdp")
int code_first(struct xdp_md *ctx)
{
	__u64 sum = bpf_ktime_get_ns();

	bpf_loop(10, code_callback, &sum, 0);
	__sync_fetch_and_add(&code_total, 1);
	code_seen[sum & 3] = __sync_lock_test_and_set(&code_seen[2], sum);
	sum += __sync_val_compare_and_swap(&code_seen[1], 5, 6);
	sum += code_static(sum) + code_global(sum);
	if (sum & 1)
		bpf_tail_call(ctx, &code_jumps, 1);
	else if ((__s64)sum < -5)
		bpf_tail_call(ctx, &code_jumps, 2);
	return sum > code_limit ? XDP_PASS : XDP_DROP;
}

SEC("xdp")
int code_second(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &code_jumps, 0);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
