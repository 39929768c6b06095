/* SPDX-License-Identifier: GPL-2.0-only */
/* Samples of one process, each with its user stack by unwind tables. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpfd/unwind.h>

char LICENSE[] SEC("license") = "GPL";

const volatile __u32 watched_pid = 0;

struct stack {
	__u32 count;
	__u32 end;
	__u64 addresses[UNWIND_DEPTH];
};

struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 22);
} stacks SEC(".maps");

const struct stack *stacks_record __attribute__((unused));

static void note(void)
{
	struct unwound *user;
	struct stack *stack;

	if (bpf_get_current_pid_tgid() >> 32 != watched_pid)
		return;
	user = unwind_user();
	if (!user)
		return;
	stack = bpf_ringbuf_reserve(&stacks, sizeof(*stack), 0);
	if (!stack)
		return;
	stack->count = user->count;
	stack->end = user->end;
	__builtin_memcpy(stack->addresses, user->addresses, sizeof(stack->addresses));
	bpf_ringbuf_submit(stack, 0);
}

SEC("perf_event")
int sampled(void *ctx)
{
	note();
	return 0;
}

SEC("tracepoint/raw_syscalls/sys_enter")
int called(void *ctx)
{
	note();
	return 0;
}
