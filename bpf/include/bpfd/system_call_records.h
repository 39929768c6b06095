/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What programs at tracepoints syscalls/sys_enter_NAME and sys_exit_NAME get:
 * struct syscall_tp_t of kernel/trace/trace_syscalls.c.
 */
#ifndef BPFD_SYSTEM_CALL_RECORDS_H
#define BPFD_SYSTEM_CALL_RECORDS_H

/* long of the target. */
#ifdef BPFD_TARGET_32BIT
typedef __u32 call_word;
typedef __s32 call_result;
#else
typedef __u64 call_word;
typedef __s64 call_result;
#endif

struct call_enter {
	__u64 header;
	call_word number;
	call_word args[6];
};

struct call_exit {
	__u64 header;
	call_word number;
	call_result result;
};

/*
 * What a program at a tracepoint (SEC("tp/...")) returns: 0 would hide the event
 * from perf and whoever else looks at it (trace_call_bpf of
 * kernel/trace/bpf_trace.c).
 */
#define FOR_OTHERS_TOO 1

#endif
