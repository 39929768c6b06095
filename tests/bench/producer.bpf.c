/* SPDX-License-Identifier: GPL-2.0-only */
/* A tight producer of 40-byte records, run by BPF_PROG_TEST_RUN. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

#define RB_NO_WAKEUP 1 /* BPF_RB_NO_WAKEUP, an enum of newer headers */
#define GROUP 32       /* records between two looks at the clock */

struct event {
	__u64 number;
	__u64 address;
	__u32 pid;
	__u32 size;
	__u64 from;
	__u64 to;
};

struct request {
	__u64 count;
	/* Nanoseconds for each GROUP records; 0: as fast as it goes. */
	__u64 interval;
};

struct state {
	__u64 interval;
	__u64 due;
};

/* Written by produce, read by what is measured. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 16 << 20);
} ring SEC(".maps");

/* Records that found the ring full; by name the counter of ring. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} ring_lost SEC(".maps");

/* Records that were tried: their numbers are 0 to made - 1. */
__u64 made;

/* Keeps struct event in the BTF of the object. */
struct event *unused __attribute__((unused));

static long wait(__u32 index, struct state *state)
{
	return bpf_ktime_get_ns() >= state->due;
}

static long one(__u32 index, struct state *state)
{
	__u64 number = made;
	struct event *event;
	__u64 *lost;
	__u32 key = 0;

	if (state->interval && index % GROUP == 0) {
		state->due += state->interval;
		bpf_loop(1 << 23, wait, state, 0);
	}
	made = number + 1;
	event = bpf_ringbuf_reserve(&ring, sizeof(*event), 0);
	if (!event) {
		lost = bpf_map_lookup_elem(&ring_lost, &key);
		if (lost)
			*lost += 1;
		return 0;
	}
	event->number = number;
	event->address = number << 12;
	event->pid = 4711;
	event->size = 40;
	event->from = 1;
	event->to = 2;
	bpf_ringbuf_submit(event, RB_NO_WAKEUP);
	return 0;
}

SEC("syscall")
int produce(struct request *context)
{
	struct state state = {
		.interval = context->interval,
		.due = bpf_ktime_get_ns(),
	};

	return bpf_loop(context->count, one, &state, 0);
}

char LICENSE[] SEC("license") = "GPL";
