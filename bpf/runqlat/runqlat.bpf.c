// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long threads that could run wait for a CPU, as histograms.
 *
 * A wait begins when a thread is woken or created, or when it is taken off its
 * CPU although it could go on; it ends when it runs.
 */
#include "kernel.h"
#include <bpfd/histogram.h>

char LICENSE[] SEC("license") = "GPL";

/* Settings. */
const volatile __u32 pid = 0;
const volatile __u64 cgroup = 0;
const volatile bool by_process = false;
const volatile bool by_thread = false;
const volatile bool by_cgroup = false;
const volatile __u64 step = 0;

/* 0 and "" where nothing is told apart by it. */
struct waiter {
	__u64 cgroup_id;
	__u32 pid;
	__u32 tid;
	char comm[16];
};

/*
 * Microseconds by who waits. Written by the programs, read by user space. A
 * plain hash, as there may be a key for each thread: 4096 are 1.3 MB.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct waiter);
	__type(value, struct histogram);
} latencies SEC(".maps");

/*
 * Since when threads wait, bpf_ktime_get_ns(), by thread id. The programs' own.
 * Threads that wait at the same time: 16384 are 1 MB.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, __u64);
} waiting SEC(".maps");

/* Waits that `waiting` or `latencies` had no room for. */
LEFT_OUT(missed);

static __always_inline __u64 cgroup_of(struct task_struct *task)
{
	return BPF_CORE_READ(task, cgroups, dfl_cgrp, kn, id);
}

static __always_inline bool is_wanted(struct task_struct *task)
{
	if (pid && BPF_CORE_READ(task, tgid) != pid)
		return false;
	return !cgroup || cgroup_of(task) == cgroup;
}

static __always_inline void begin(struct task_struct *task)
{
	__u32 tid = BPF_CORE_READ(task, pid);
	__u64 now;

	/* 0: the idle task of each CPU, which never waits. */
	if (!tid || !is_wanted(task))
		return;
	now = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&waiting, &tid, &now, BPF_ANY))
		left_out(&missed);
}

static __always_inline void end(struct task_struct *task)
{
	__u32 tid = BPF_CORE_READ(task, pid);
	struct waiter waiter = {};
	__u64 now, *since;

	since = bpf_map_lookup_elem(&waiting, &tid);
	if (!since)
		return;
	now = bpf_ktime_get_ns();
	now = now > *since ? now - *since : 0;
	bpf_map_delete_elem(&waiting, &tid);

	if (by_cgroup)
		waiter.cgroup_id = cgroup_of(task);
	if (by_process || by_thread)
		waiter.pid = BPF_CORE_READ(task, tgid);
	if (by_thread) {
		waiter.tid = tid;
		bpf_core_read_str(waiter.comm, sizeof(waiter.comm),
				  &task->comm);
	}
	histogram_add(&latencies, &waiter, &missed, now / 1000, step);
}

SEC("raw_tp/sched_wakeup")
int woken(struct bpf_raw_tracepoint_args *ctx)
{
	begin((struct task_struct *)ctx->args[0]);
	return 0;
}

SEC("raw_tp/sched_wakeup_new")
int created(struct bpf_raw_tracepoint_args *ctx)
{
	begin((struct task_struct *)ctx->args[0]);
	return 0;
}

/* Arguments: whether it was preempted, the thread that ran, the next one. */
SEC("raw_tp/sched_switch")
int switched(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *before = (struct task_struct *)ctx->args[1];
	__u32 tid;

	/* 0 is TASK_RUNNING. Who was preempted on its way to sleep waits too. */
	if (ctx->args[0] || !BPF_CORE_READ(before, __state)) {
		begin(before);
	} else {
		/* It was woken before it slept, and went on. */
		tid = BPF_CORE_READ(before, pid);
		bpf_map_delete_elem(&waiting, &tid);
	}
	end((struct task_struct *)ctx->args[2]);
	return 0;
}
