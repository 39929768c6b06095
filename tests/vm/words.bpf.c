/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Reads pointers, longs and registers in all the ways that sources written on a
 * 64-bit machine do. What is read of a task stays under its process id.
 */
#include <vmlinux.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

char LICENSE[] SEC("license") = "GPL";

struct words {
	/* mm->start_stack, read in different ways. */
	u64 chased, chased_into, core, probed, typed;
	/* task->mm. */
	u64 mm, mm_core, mm_into;
	u64 task;
	s64 nice;
	u64 arguments_of_syscall[2];
	u64 instruction;
	char comm[16];
	char parent[16];
	/* Of the first system call that failed. */
	s64 tracepoint_result;
	s64 raw_result;
	s64 returned;
	u64 path;
};

struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 1024);
	__type(key, u32);
	__type(value, struct words);
} seen SEC(".maps");

static __always_inline struct words *own(void)
{
	static const struct words none;
	u32 pid = bpf_get_current_pid_tgid() >> 32;

	bpf_map_update_elem(&seen, &pid, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&seen, &pid);
}

SEC("raw_tp/sys_enter")
int BPF_PROG(entered, struct pt_regs *regs, long number)
{
	struct task_struct *task = (void *)bpf_get_current_task();
	struct words *words = own();
	unsigned long value;
	struct mm_struct *mm;
	void *pointer;

	if (!words)
		return 0;
	mm = BPF_CORE_READ(task, mm);
	words->task = (u64)task;
	words->mm = (u64)mm;
	bpf_core_read(&pointer, sizeof(pointer), &task->mm);
	words->mm_core = (u64)pointer;
	BPF_CORE_READ_INTO(&words->mm_into, task, mm);
	words->chased = BPF_CORE_READ(task, mm, start_stack);
	BPF_CORE_READ_INTO(&words->chased_into, task, mm, start_stack);
	bpf_core_read(&value, sizeof(value), &mm->start_stack);
	words->core = value;
	bpf_probe_read_kernel(&value, sizeof(value), &mm->start_stack);
	words->probed = value;
	{
		typeof(mm->start_stack) typed;

		bpf_probe_read_kernel(&typed, sizeof(typed), &mm->start_stack);
		words->typed = typed;
	}
	words->nice = (s64)BPF_CORE_READ(task, static_prio) - 120;
	BPF_CORE_READ_STR_INTO(&words->comm, task, comm);
	BPF_CORE_READ_STR_INTO(&words->parent, task, real_parent, comm);
	words->arguments_of_syscall[0] = PT_REGS_PARM2_CORE(regs);
	words->arguments_of_syscall[1] = PT_REGS_PARM3_CORE(regs);
	words->instruction = PT_REGS_IP_CORE(regs);
	return 0;
}

SEC("raw_tp/sys_exit")
int BPF_PROG(left, struct pt_regs *regs, long result)
{
	struct words *words = own();

	if (words && !words->raw_result && result < 0)
		words->raw_result = result;
	return 0;
}

SEC("tracepoint/raw_syscalls/sys_exit")
int left_by_tracepoint(struct trace_event_raw_sys_exit *context)
{
	struct words *words = own();

	if (words && !words->tracepoint_result && context->ret < 0)
		words->tracepoint_result = context->ret;
	return 0;
}

SEC("?kprobe/do_sys_openat2")
int BPF_KPROBE(opening, int folder, const char *path)
{
	struct words *words = own();

	if (words)
		words->path = (u64)path;
	return 0;
}

SEC("?kretprobe/do_sys_openat2")
int BPF_KRETPROBE(opened, int result)
{
	struct words *words = own();

	if (words && !words->returned && result < 0)
		words->returned = result;
	return 0;
}
