/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Members of a chain that cost next to nothing, so that the chain's own cost shows: alone, as
 * they are composed, and as programs that call the next one by a tail call themselves.
 */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define LONGEST 10

/* The programs that cooperate, by their turn; the first is entered from outside. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, LONGEST);
	__type(key, __u32);
	__type(value, __u32);
} turns SEC(".maps");

/* A verdict that the verifier cannot foresee. */
static __always_inline int verdict(struct xdp_md *ctx)
{
	return ctx->rx_queue_index > 1000 ? XDP_DROP : XDP_PASS;
}

SEC("xdp")
int member(struct xdp_md *ctx)
{
	return verdict(ctx);
}

/* clang-format off */
#define COOPERATES(number)						\
	SEC("xdp")							\
	int cooperates##number(struct xdp_md *ctx)			\
	{								\
		int found = verdict(ctx);				\
									\
		if (found == XDP_PASS)					\
			bpf_tail_call(ctx, &turns, number + 1);		\
		return found;						\
	}
/* clang-format on */

COOPERATES(0)
COOPERATES(1)
COOPERATES(2)
COOPERATES(3)
COOPERATES(4)
COOPERATES(5)
COOPERATES(6)
COOPERATES(7)
COOPERATES(8)
COOPERATES(9)

char _license[] SEC("license") = "GPL";
