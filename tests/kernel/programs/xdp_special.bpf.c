/* SPDX-License-Identifier: GPL-2.0-only */
/* Members of chains that need more of a kernel, each by its own define. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Runs of what the member calls. Written here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} chain_special SEC(".maps");

static __always_inline void count(void)
{
	__u32 zero = 0;
	__u64 *hits = bpf_map_lookup_elem(&chain_special, &zero);

	if (hits)
		__sync_fetch_and_add(hits, 1);
}

#ifdef TAIL_CALL
int target(struct xdp_md *ctx);

/* Where the member goes on. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__array(values, int(void *));
} chain_jumps SEC(".maps") = {
	.values = { (void *)&target },
};

SEC("xdp")
int target(struct xdp_md *ctx)
{
	count();
	return XDP_PASS;
}

SEC("xdp")
int special(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &chain_jumps, 0);
	return XDP_ABORTED;
}
#endif

#ifdef LOOP
static long step(__u32 index, void *data)
{
	count();
	return 0;
}

SEC("xdp")
int special(struct xdp_md *ctx)
{
	return bpf_loop(3, step, NULL, 0) == 3 ? XDP_PASS : XDP_ABORTED;
}
#endif

#ifdef STACK
static __noinline int inner(struct xdp_md *ctx)
{
	char bytes[224] = {};

	return bpf_xdp_load_bytes(ctx, 0, bytes, 14) ? 0 : bytes[12];
}

/* More than 400 of the 512 bytes, of which 32 are for the one that calls it; how many more,
 * the compiler decides. */
SEC("xdp")
int special(struct xdp_md *ctx)
{
	char bytes[192] = {};

	bpf_xdp_load_bytes(ctx, 0, bytes, 14);
	count();
	return inner(ctx) + bytes[13] < 1024 ? XDP_PASS : XDP_ABORTED;
}
#endif

char _license[] SEC("license") = "GPL";
