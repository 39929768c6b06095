/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Calls of functions from entry to return, to tell how long they took.
 *
 * A function that calls itself has several calls in one thread, which are told
 * apart by their depth.
 */
#ifndef BPFD_CALLS_H
#define BPFD_CALLS_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define OPEN_CALLS 16384

struct call {
	/* bpf_get_current_pid_tgid() */
	__u64 thread;
	/* Number of the function. */
	__u32 function;
	/* The outermost is 1. */
	__u32 depth;
};

/* How deep a thread is in a function: key with depth 0. Read and written by
 * call_of(). Of threads that ended in a call the oldest go. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, OPEN_CALLS);
	__type(key, struct call);
	__type(value, __u32);
} depths SEC(".maps");

/* The call that begins (STEP 1) or that ends (STEP -1). */
static __always_inline struct call call_of(__u64 thread, __u32 function,
					   int step)
{
	struct call call = { .thread = thread, .function = function };
	__u32 *known, depth = 0, left;

	/* The idle tasks of all CPUs are thread 0. */
	if (!thread)
		call.thread = 1ULL << 63 | bpf_get_smp_processor_id();
	known = bpf_map_lookup_elem(&depths, &call);
	if (known)
		depth = *known;
	if (step > 0)
		depth++;
	left = step > 0 ? depth : depth - 1;
	if (depth && left)
		bpf_map_update_elem(&depths, &call, &left, BPF_ANY);
	else
		bpf_map_delete_elem(&depths, &call);
	call.depth = depth;
	return call;
}

#endif
