/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Members of chains of XDP programs: each counts its runs, writes down its turn and returns
 * what the test says. The plain ones are alike, so that any can stand in for another.
 */
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <bpf/bpf_helpers.h>

#define MEMBERS 8
#define TURNS 64

/* Runs by member. Written here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MEMBERS);
	__type(key, __u32);
	__type(value, __u64);
} chain_hits SEC(".maps");

/* What each member returns; 0: XDP_PASS. Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, MEMBERS);
	__type(key, __u32);
	__type(value, __u32);
} chain_verdicts SEC(".maps");

struct turns {
	__u32 count;
	__u32 members[TURNS];
};

/* Members in the order in which they ran since the test cleared it. Written by both. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct turns);
} chain_turns SEC(".maps");

static __always_inline int member(__u32 number)
{
	__u32 zero = 0, *verdict = bpf_map_lookup_elem(&chain_verdicts, &number);
	__u64 *hits = bpf_map_lookup_elem(&chain_hits, &number);
	struct turns *turns = bpf_map_lookup_elem(&chain_turns, &zero);

	if (!verdict || !hits || !turns)
		return XDP_ABORTED;
	__sync_fetch_and_add(hits, 1);
	if (turns->count < TURNS) {
		turns->members[turns->count] = number;
		turns->count++;
	}
	return *verdict ?: XDP_PASS;
}

SEC("xdp")
int member0(struct xdp_md *ctx)
{
	return member(0);
}

SEC("xdp")
int member1(struct xdp_md *ctx)
{
	return member(1);
}

SEC("xdp")
int member2(struct xdp_md *ctx)
{
	return member(2);
}

SEC("xdp")
int member3(struct xdp_md *ctx)
{
	return member(3);
}

/* Its argument has a type that a global function could not have. */
SEC("xdp")
int member4(void *ctx)
{
	return member(4);
}

/* Takes 4 bytes from the front and 4 for metadata, and gives them back. Some CPUs want data
 * aligned, and packets begin at 2 behind a multiple of 4. */
SEC("xdp")
int moves(struct xdp_md *ctx)
{
	__u16 *meta;

	if (bpf_xdp_adjust_head(ctx, 4) || bpf_xdp_adjust_head(ctx, -4) ||
	    bpf_xdp_adjust_meta(ctx, -4))
		return XDP_ABORTED;
	meta = (void *)(long)ctx->data_meta;
	if ((void *)(meta + 1) > (void *)(long)ctx->data)
		return XDP_ABORTED;
	*meta = 7;
	return member(5);
}

/* Sees the metadata of the one before. */
SEC("xdp")
int sees(struct xdp_md *ctx)
{
	__u16 *meta = (void *)(long)ctx->data_meta;
	int verdict = member(6);

	if ((void *)(meta + 1) > (void *)(long)ctx->data || *meta != 7)
		return XDP_ABORTED;
	return verdict;
}

__noinline int twice(__u32 number)
{
	return number * 2;
}

static __noinline int half(__u32 number)
{
	return number / 2;
}

/* Functions of its own, one of them global. */
SEC("xdp")
int calls(struct xdp_md *ctx)
{
	return half(twice(member(7)));
}

SEC("xdp.frags")
int takes_frags(struct xdp_md *ctx)
{
	return member(0);
}

SEC("xdp/devmap")
int for_devmap(struct xdp_md *ctx)
{
	return member(0);
}

char _license[] SEC("license") = "GPL";
