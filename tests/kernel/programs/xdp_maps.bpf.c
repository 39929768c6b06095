/* SPDX-License-Identifier: GPL-2.0-only */
/* XDP programs that run behind a redirect, and one for packets in several pieces. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Counters, and what was seen. Written by the programs. */
enum number { DEVICE, CPU, PEER, WHOLE, LENGTH, LINEAR, BYTE };

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

/* Slot 0: where packets go. Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_DEVMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bpf_devmap_val);
} devices SEC(".maps");

/* CPUs that packets go to. Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_CPUMAP);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct bpf_cpumap_val);
} cpus SEC(".maps");

static __always_inline void add(__u32 which, __u64 count)
{
	__u64 *value = bpf_map_lookup_elem(&numbers, &which);

	if (value)
		__sync_fetch_and_add(value, count);
}

SEC("xdp")
int to_device(struct xdp_md *ctx)
{
	return bpf_redirect_map(&devices, 0, XDP_PASS);
}

SEC("xdp")
int to_cpu(struct xdp_md *ctx)
{
	return bpf_redirect_map(&cpus, 0, XDP_PASS);
}

/* IPv4 packets alone: neighbours ask, and IPv6 speaks by itself. */
static __always_inline int is_ours(struct xdp_md *ctx)
{
	__u8 *data = (void *)(long)ctx->data;

	return (void *)(data + 14) <= (void *)(long)ctx->data_end && data[12] == 8 && !data[13];
}

SEC("xdp/devmap")
int device_passes(struct xdp_md *ctx)
{
	if (is_ours(ctx))
		add(DEVICE, 1);
	return XDP_PASS;
}

SEC("xdp/devmap")
int device_drops(struct xdp_md *ctx)
{
	if (is_ours(ctx))
		add(DEVICE, 1);
	return XDP_DROP;
}

SEC("xdp")
int peer(struct xdp_md *ctx)
{
	if (is_ours(ctx))
		add(PEER, 1);
	return XDP_PASS;
}

SEC("xdp/cpumap")
int cpu_passes(struct xdp_md *ctx)
{
	if (is_ours(ctx))
		add(CPU, 1);
	return XDP_PASS;
}

SEC("xdp/cpumap")
int cpu_drops(struct xdp_md *ctx)
{
	if (is_ours(ctx))
		add(CPU, 1);
	return XDP_DROP;
}

#ifdef FRAGS
static __u64 (*const buffer_length)(struct xdp_md *ctx) = (void *)188;
static long (*const load_bytes)(struct xdp_md *ctx, __u32 at, void *to, __u32 size) =
	(void *)189;

SEC("xdp.frags")
int whole(struct xdp_md *ctx)
{
	__u64 length = buffer_length(ctx);
	__u8 byte = 0;

	if (length < 2000 || !is_ours(ctx))
		return XDP_PASS;
	add(WHOLE, 1);
	add(LENGTH, length);
	add(LINEAR, ctx->data_end - ctx->data);
	if (!load_bytes(ctx, length - 1, &byte, 1))
		add(BYTE, byte);
	return byte == 'd' ? XDP_DROP : XDP_PASS;
}
#endif

char LICENSE[] SEC("license") = "GPL";
