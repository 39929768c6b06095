// SPDX-License-Identifier: GPL-2.0-only
/*
 * One event for each program that is started, or cannot be: its file, its
 * arguments, who started it, and the error.
 *
 * A program that runs is told when the kernel has put its arguments on the new
 * stack: they are read there, in one piece. One that cannot be started is told
 * when execve() returns, with the arguments that the caller gave.
 */
#include <bpfd/process.h>
#include <bpfd/error_numbers.h>
#include <bpfd/events.h>
#include <bpfd/system_call_records.h>

char LICENSE[] SEC("license") = "GPL";

#define FILE_BYTES 256
#define ARGUMENTS_BYTES 4096
/* Of what cannot be started. */
#define MAX_ARGUMENTS 64
#define ARGUMENT_BYTES 256

struct linux_binprm___bpfd {
	const char *filename;
} OF_KERNEL;

struct started {
	/* bpf_ktime_get_ns() */
	__u64 time_ns SHOWN_AS("ktime");
	__u64 cgroup_id;
	/* NONE: it runs. */
	enum error_number error;
	__u32 pid;
	__u32 parent_pid;
	__u32 uid;
	/* Bytes of all arguments, each with its NUL; 0: not known. */
	__u32 arguments_bytes;
	/* Of the thread: the new one of what runs, the caller's of what failed. */
	char comm[16];
	/* There are more arguments than are told. */
	bool cut;
	/* As it was given to execve(). */
	char file[FILE_BYTES - 1];
	char arguments[ARGUMENTS_BYTES] SHOWN_AS("arguments");
};

/* Only what cannot be started. */
const volatile bool failed = false;

/* execve() that has not returned. */
struct call {
	__u64 file;
	__u64 arguments;
};

/* By thread id. The programs' own. A call that runs forgets its own entry. */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

/* Programs that were started. Written by the programs, read by user space.
 * 1 MiB holds some 3,000 events, 320 bytes and the arguments each. */
SIZED_RING(starts, struct started, 1 << 20);

static __always_inline struct started *begin(void)
{
	struct started *event = ring_room(&starts_room);

	if (!event)
		return NULL;
	event->time_ns = bpf_ktime_get_ns();
	event->cgroup_id = bpf_get_current_cgroup_id();
	event->pid = current_pid();
	event->parent_pid = BPF_CORE_READ(current_task(), real_parent, tgid);
	event->uid = bpf_get_current_uid_gid();
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	event->cut = false;
	event->file[0] = '\0';
	event->arguments_bytes = 0;
	return event;
}

#define OUTPUT(ctx, event, bytes)       \
	ring_output(ctx, starts, event, \
		    __builtin_offsetof(struct started, arguments) + (bytes))

/* Arguments: task, old thread id, struct linux_binprm. */
SEC("raw_tp/sched_process_exec")
int runs(struct bpf_raw_tracepoint_args *ctx)
{
	struct linux_binprm___bpfd *program = (void *)ctx->args[2];
	struct task_struct___bpfd *task = current_task();
	__u32 old_tid = ctx->args[1];
	struct started *event;
	__u64 start, bytes;

	bpf_map_delete_elem(&calls, &old_tid);
	if (failed || !is_wanted())
		return 0;
	event = begin();
	if (!event)
		return 0;
	event->error = NONE;
	bpf_probe_read_kernel_str(event->file, sizeof(event->file),
				  BPF_CORE_READ(program, filename));
	start = BPF_CORE_READ(task, mm, arg_start);
	bytes = BPF_CORE_READ(task, mm, arg_end) - start;
	event->arguments_bytes = bytes;
	if (bytes > ARGUMENTS_BYTES) {
		event->cut = true;
		bytes = ARGUMENTS_BYTES;
	}
	if (bytes &&
	    bpf_probe_read_user(event->arguments, bytes, (void *)start)) {
		event->cut = true;
		bytes = 0;
	}
	OUTPUT(ctx, event, bytes);
	return 0;
}

static __always_inline int enter(__u64 file, __u64 arguments)
{
	struct call call = { file, arguments };
	__u32 tid = bpf_get_current_pid_tgid();

	if (is_wanted())
		bpf_map_update_elem(&calls, &tid, &call, BPF_ANY);
	return FOR_OTHERS_TOO;
}

/* Where read_argument() is. */
struct position {
	struct started *event;
	__u64 arguments;
	__u32 bytes;
	bool end;
};

static long read_argument(__u32 index, struct position *at)
{
	call_word argument = 0;
	long read;

	bpf_probe_read_user(&argument, sizeof(argument),
			    (void *)(at->arguments + index * sizeof(argument)));
	if (!argument) {
		at->end = true;
		return 1;
	}
	if (index == MAX_ARGUMENTS ||
	    at->bytes > ARGUMENTS_BYTES - ARGUMENT_BYTES)
		return 1;
	read = bpf_probe_read_user_str(&at->event->arguments[at->bytes],
				       ARGUMENT_BYTES, (void *)(__u64)argument);
	if (read <= 0)
		return 1;
	if (read == ARGUMENT_BYTES)
		at->event->cut = true;
	at->bytes += read;
	return 0;
}

/* Arguments one by one (bpf_loop: Linux 5.17); gives the bytes that were read. */
static __always_inline __u32 read_arguments(struct started *event,
					    __u64 arguments)
{
	struct position at = { event, arguments };

	bpf_loop(MAX_ARGUMENTS + 1, read_argument, &at, 0);
	if (!at.end)
		event->cut = true;
	return at.bytes;
}

static __always_inline int leave(struct call_exit *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct started *event;
	struct call *call;
	__u32 bytes;

	call = bpf_map_lookup_elem(&calls, &tid);
	if (!call)
		return FOR_OTHERS_TOO;
	event = ctx->result < 0 ? begin() : NULL;
	if (event) {
		event->error = error_of(ctx->result);
		bpf_probe_read_user_str(event->file, sizeof(event->file),
					(void *)call->file);
		bytes = read_arguments(event, call->arguments);
		if (bytes <= ARGUMENTS_BYTES)
			OUTPUT(ctx, event, bytes);
	}
	bpf_map_delete_elem(&calls, &tid);
	return FOR_OTHERS_TOO;
}

SEC("tp/syscalls/sys_enter_execve")
int execve_enter(struct call_enter *ctx)
{
	return enter(ctx->args[0], ctx->args[1]);
}

SEC("tp/syscalls/sys_exit_execve")
int execve_exit(struct call_exit *ctx)
{
	return leave(ctx);
}

SEC("tp/syscalls/sys_enter_execveat")
int execveat_enter(struct call_enter *ctx)
{
	return enter(ctx->args[1], ctx->args[2]);
}

SEC("tp/syscalls/sys_exit_execveat")
int execveat_exit(struct call_exit *ctx)
{
	return leave(ctx);
}
