/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where threads wait: the time from when a thread leaves its CPU until it is
 * on one again, by the stacks with which it left. The time until it is woken
 * (blocked) and the time until it then gets a CPU (runnable) are kept apart.
 * See bpfd/stacks.h for how sums come to user space.
 */
#include <bpfd/stacks.h>

char LICENSE[] SEC("license") = "GPL";

/* Of the kernel's include/linux/sched.h, since 4.14: it never runs again. */
#define TASK_DEAD 0x80

/* The state, by its names since 5.14 and before. */
struct task_struct___new {
	unsigned int __state;
} __attribute__((preserve_access_index));

struct task_struct___old {
	long state;
} __attribute__((preserve_access_index));

/* Leave out what was off its CPU for less, or for more than this. */
const volatile __u64 min_ns = 0;
const volatile __u64 max_ns = ~0ULL;

/* A thread that is off its CPU. */
struct waiting {
	/* bpf_ktime_get_ns() when it left and when it was woken; 0: not yet. */
	__u64 left_ns SHOWN_AS("ktime");
	__u64 woken_ns SHOWN_AS("ktime");
	struct stack_key key;
};

/*
 * Threads off their CPUs. Key: thread id; written and read by programs, and
 * read by user space at the end, for those that still wait. 16,384 are 2.5 MB.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct waiting);
} threads SEC(".maps");

struct switch_state {
	/* Threads that did not fit into `threads`. */
	__u64 threads_full;
	/* bpf_ktime_get_ns() of the last switch. */
	__u64 now_ns SHOWN_AS("ktime");
};

/* Written by programs, read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct switch_state);
} switches SEC(".maps");

static __always_inline __u32 state_of(struct task_struct *task)
{
	struct task_struct___new *fresh = (void *)task;
	struct task_struct___old *old = (void *)task;

	if (bpf_core_field_exists(fresh->__state))
		return BPF_CORE_READ(fresh, __state);
	return BPF_CORE_READ(old, state);
}

static __always_inline void leaves(void *ctx, struct task_struct *task,
				   struct switch_state *last, bool preempted,
				   __u64 now)
{
	__u32 tid = (__u32)bpf_get_current_pid_tgid();
	__u32 state = preempted ? 0 : state_of(task);
	struct waiting waiting = {};

	if (!tid || state & TASK_DEAD || !describe_current(&waiting.key, task))
		return;
	waiting.left_ns = now;
	/* Preempted, or it gave way: it could run on. */
	waiting.key.state = state ? BLOCKED : RUNNABLE;
	if (!state)
		waiting.woken_ns = now;
	put_stacks(ctx, &waiting.key, task);
	if (bpf_map_update_elem(&threads, &tid, &waiting, BPF_ANY))
		__sync_fetch_and_add(&last->threads_full, 1);
}

static __always_inline void comes(struct task_struct *task, __u64 now)
{
	__u32 tid = BPF_CORE_READ(task, pid);
	struct waiting *found = bpf_map_lookup_elem(&threads, &tid);
	struct stack_key key;
	__u64 left, woken;

	if (!found)
		return;
	left = found->left_ns;
	woken = found->woken_ns ? found->woken_ns : now;
	key = found->key;
	bpf_map_delete_elem(&threads, &tid);
	if (now - left < min_ns || now - left > max_ns)
		return;
	if (key.state == BLOCKED && woken > left)
		add(&key, 1, woken - left);
	if (now > woken) {
		key.state = RUNNABLE;
		add(&key, 1, now - woken);
	}
}

SEC("raw_tp/sched_switch")
int offcpu(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *prev = (struct task_struct *)ctx->args[1];
	struct task_struct *next = (struct task_struct *)ctx->args[2];
	__u64 now = bpf_ktime_get_ns();
	__u32 zero = 0;
	struct switch_state *last = bpf_map_lookup_elem(&switches, &zero);

	if (!last)
		return 0;
	last->now_ns = now;
	leaves(ctx, prev, last, ctx->args[0], now);
	comes(next, now);
	return 0;
}

SEC("raw_tp/sched_wakeup")
int woken(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *task = (struct task_struct *)ctx->args[0];
	__u32 tid = BPF_CORE_READ(task, pid);
	struct waiting *found = bpf_map_lookup_elem(&threads, &tid);

	if (found && !found->woken_ns)
		found->woken_ns = bpf_ktime_get_ns();
	return 0;
}
