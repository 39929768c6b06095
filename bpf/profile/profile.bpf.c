/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Where CPUs spend their time: at each sample the stacks of what runs are
 * counted. See bpfd/stacks.h for how they come to user space.
 */
#include <bpfd/stacks.h>

char LICENSE[] SEC("license") = "GPL";

/* Also samples of CPUs that have nothing to do. */
const volatile bool idle = false;

SEC("perf_event")
int profile(void *ctx)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct stack_key key = {};

	if (!idle && !(__u32)bpf_get_current_pid_tgid())
		return 0;
	if (!describe_current(&key, task))
		return 0;
	put_stacks(ctx, &key, task);
	add(&key, 1, 0);
	return 0;
}
