// SPDX-License-Identifier: GPL-2.0-only
/*
 * One event for each file that is opened, or cannot be: by open(), creat(),
 * openat() or openat2().
 *
 * The path is read when the call returns: the kernel has read it then, so that
 * its page is in memory.
 */
#include <bpfd/process.h>
#include <bpfd/error_numbers.h>
#include <bpfd/events.h>
#include <bpfd/system_call_records.h>

char LICENSE[] SEC("license") = "GPL";

/* Bits of asm/fcntl.h; O_SYNC is __O_SYNC with O_DSYNC, O_TMPFILE is __O_TMPFILE
 * with O_DIRECTORY. arm and arm64 have numbers of their own for four of them. */
enum open_flags {
	O_RDONLY = 0,
	O_WRONLY = 1,
	O_RDWR = 2,
	O_CREAT = 0100,
	O_EXCL = 0200,
	O_NOCTTY = 0400,
	O_TRUNC = 01000,
	O_APPEND = 02000,
	O_NONBLOCK = 04000,
	O_DSYNC = 010000,
	FASYNC = 020000,
#if defined(__TARGET_ARCH_arm) || defined(__TARGET_ARCH_arm64)
	O_DIRECTORY = 040000,
	O_NOFOLLOW = 0100000,
	O_DIRECT = 0200000,
	O_LARGEFILE = 0400000,
#else
	O_DIRECT = 040000,
	O_LARGEFILE = 0100000,
	O_DIRECTORY = 0200000,
	O_NOFOLLOW = 0400000,
#endif
	O_NOATIME = 01000000,
	O_CLOEXEC = 02000000,
	__O_SYNC = 04000000,
	O_PATH = 010000000,
	__O_TMPFILE = 020000000,
};

#define PATH_BYTES 1024

struct opened {
	/* bpf_ktime_get_ns() at the return. */
	__u64 time_ns SHOWN_AS("ktime");
	/* From the call to its return. */
	__u64 duration_ns SHOWN_AS("ns");
	__u64 cgroup_id;
	__u32 pid;
	__u32 tid;
	__u32 uid;
	/* -1: failed. */
	__s32 fd;
	enum error_number error;
	enum open_flags flags;
	/* For what is made. */
	__u32 mode SHOWN_AS("octal");
	/* What a path without / at its front begins at; AT_FDCWD is -100. */
	__s32 directory;
	char comm[16];
	/* The path is longer. */
	bool cut;
	char path[PATH_BYTES - 1];
};

/* Only calls that fail. */
const volatile bool failed = false;

/* A call that has not returned. */
struct call {
	__u64 start_ns;
	__u64 path;
	__u32 flags;
	__u32 mode;
	__s32 directory;
};

/*
 * Calls that have not returned, by thread id. The programs' own. Threads that
 * open at the same time: 8192 are 600 KB.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, struct call);
} calls SEC(".maps");

/* Files that were opened. Written by the programs, read by user space. 1 MiB
 * holds some 8,000 events, 120 bytes and the path each. */
SIZED_RING(opens, struct opened, 1 << 20);

static __always_inline int enter(__s32 directory, __u64 path, __u32 flags,
				 __u32 mode)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct call call = { bpf_ktime_get_ns(), path, flags, mode, directory };

	if (is_wanted() && bpf_map_update_elem(&calls, &tid, &call, BPF_ANY))
		count_lost(&opens_lost);
	return FOR_OTHERS_TOO;
}

static __always_inline int leave(struct call_exit *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct opened *event;
	struct call *call;
	long bytes;

	call = bpf_map_lookup_elem(&calls, &tid);
	if (!call)
		return FOR_OTHERS_TOO;
	event = failed && ctx->result >= 0 ? NULL : ring_room(&opens_room);
	if (!event)
		goto out;
	event->time_ns = bpf_ktime_get_ns();
	event->duration_ns = event->time_ns - call->start_ns;
	event->cgroup_id = bpf_get_current_cgroup_id();
	event->pid = current_pid();
	event->tid = tid;
	event->uid = bpf_get_current_uid_gid();
	event->fd = ctx->result < 0 ? -1 : (__s32)ctx->result;
	event->error = error_of(ctx->result);
	event->flags = call->flags;
	event->mode = call->mode;
	event->directory = call->directory;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	bytes = bpf_probe_read_user_str(event->path, sizeof(event->path),
					(void *)call->path);
	if (bytes < 1 || bytes > (long)sizeof(event->path)) {
		event->path[0] = '\0';
		bytes = 1;
	}
	event->cut = false;
	if (bytes == sizeof(event->path)) {
		char after = '\0';

		bpf_probe_read_user(&after, 1,
				    (void *)(call->path + bytes - 1));
		event->cut = after != '\0';
	}
	ring_output(ctx, opens, event,
		    __builtin_offsetof(struct opened, path) + bytes);
out:
	bpf_map_delete_elem(&calls, &tid);
	return FOR_OTHERS_TOO;
}

#define AT_FDCWD (-100)

SEC("tp/syscalls/sys_enter_open")
int open_enter(struct call_enter *ctx)
{
	return enter(AT_FDCWD, ctx->args[0], ctx->args[1], ctx->args[2]);
}

SEC("tp/syscalls/sys_exit_open")
int open_exit(struct call_exit *ctx)
{
	return leave(ctx);
}

SEC("tp/syscalls/sys_enter_creat")
int creat_enter(struct call_enter *ctx)
{
	return enter(AT_FDCWD, ctx->args[0], O_CREAT | O_WRONLY | O_TRUNC,
		     ctx->args[1]);
}

SEC("tp/syscalls/sys_exit_creat")
int creat_exit(struct call_exit *ctx)
{
	return leave(ctx);
}

SEC("tp/syscalls/sys_enter_openat")
int openat_enter(struct call_enter *ctx)
{
	return enter(ctx->args[0], ctx->args[1], ctx->args[2], ctx->args[3]);
}

SEC("tp/syscalls/sys_exit_openat")
int openat_exit(struct call_exit *ctx)
{
	return leave(ctx);
}

SEC("tp/syscalls/sys_enter_openat2")
int openat2_enter(struct call_enter *ctx)
{
	/* struct open_how of linux/openat2.h; resolve is not told. */
	struct {
		__u64 flags;
		__u64 mode;
	} how = {};

	bpf_probe_read_user(&how, sizeof(how), (void *)(__u64)ctx->args[2]);
	return enter(ctx->args[0], ctx->args[1], how.flags, how.mode);
}

SEC("tp/syscalls/sys_exit_openat2")
int openat2_exit(struct call_exit *ctx)
{
	return leave(ctx);
}
