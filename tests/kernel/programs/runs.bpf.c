/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs that run on request: one that computes, and one that starts a timer. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define CLOCK_MONOTONIC 1

struct job {
	__u64 first;
	__u64 second;
	__u64 sum; /* written */
};

struct alarm {
	struct bpf_timer timer;
	__u64 interval; /* nanoseconds */
	__u64 left; /* times that it is set again */
	__u64 rung;
};

/* One timer. Started and counted here, read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct alarm);
} alarms SEC(".maps");

#ifdef SYSCALL
SEC("syscall")
int add(struct job *job)
{
	job->sum = job->first + job->second;
	return job->sum > 100;
}
#endif

#ifdef TIMER
static int rings(void *map, __u32 *key, struct alarm *alarm)
{
	alarm->rung++;
	if (alarm->left) {
		alarm->left--;
		bpf_timer_start(&alarm->timer, alarm->interval, 0);
	}
	return 0;
}

/* The packet's first words: interval and how often. */
SEC("tc")
int start(struct __sk_buff *skb)
{
	__u32 zero = 0;
	struct alarm *alarm = bpf_map_lookup_elem(&alarms, &zero);

	if (!alarm || bpf_skb_load_bytes(skb, 0, &alarm->interval, 16))
		return 1;
	bpf_timer_init(&alarm->timer, &alarms, CLOCK_MONOTONIC);
	bpf_timer_set_callback(&alarm->timer, rings);
	return bpf_timer_start(&alarm->timer, alarm->interval, 0) ? 2 : 0;
}
#endif

char LICENSE[] SEC("license") = "GPL";
