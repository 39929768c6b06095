/* SPDX-License-Identifier: GPL-2.0-only */
/* A program with a global function, or one that stands in its place (-DEXTENSION). */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef EXTENSION
/* Else the compiler passes nothing where nothing is used. */
#define USED(argument) __asm__ volatile("" : : "r"(argument))

__attribute__((noinline)) int verdict(struct xdp_md *ctx)
{
	volatile int result = XDP_PASS;

	USED(ctx);
	return result;
}

__attribute__((noinline)) int other_verdict(struct xdp_md *ctx, int more)
{
	volatile int result = more;

	USED(ctx);
	return result;
}

SEC("xdp")
int program(struct xdp_md *ctx)
{
	if (other_verdict(ctx, 0))
		return XDP_ABORTED;
	return verdict(ctx);
}
#else
SEC("freplace/verdict")
int drops(struct xdp_md *ctx)
{
	return XDP_DROP;
}

SEC("freplace/verdict")
int sends_back(struct xdp_md *ctx)
{
	return XDP_TX;
}
#endif

char LICENSE[] SEC("license") = "GPL";
