// SPDX-License-Identifier: GPL-2.0-only
/*
 * System calls, counted: how many, how many failed, how long they took.
 *
 * Calls are counted when they begin, errors and time when they return.
 */
#include <bpfd/process.h>
#include <bpfd/shown.h>
#include <bpfd/system_calls.h>

char LICENSE[] SEC("license") = "GPL";

/* Tell processes apart. */
const volatile bool by_process = false;
/* Only calls that fail; they are counted when they return. */
const volatile bool failed = false;

/* pid is 0 and comm empty where processes are not told apart. comm is the name
 * of the thread that called. */
struct caller {
	enum system_call call;
	__u32 pid;
	char comm[16];
};

struct count {
	__u64 calls;
	__u64 errors;
	/* In calls that have returned. */
	__u64 time_ns SHOWN_AS("ns");
	/* The longest. */
	__u64 longest_ns SHOWN_AS("ns");
};

struct inside {
	__u64 start_ns;
	struct caller caller;
};

/*
 * Calls that have not returned, by thread id. The programs' own. 16384 threads
 * are 1.5 MB.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u32);
	__type(value, struct inside);
} inside_calls SEC(".maps");

/* What was counted, by call and process. Written by the programs, read by user
 * space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct caller);
	__type(value, struct count);
} counts SEC(".maps");

/* Calls that found one of the maps full. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} missed SEC(".maps");

static __always_inline void miss(void)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(&missed, &zero);

	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline struct count *count_of(struct caller *caller)
{
	struct count *count = bpf_map_lookup_elem(&counts, caller);
	struct count none = {};

	if (count)
		return count;
	bpf_map_update_elem(&counts, caller, &none, BPF_NOEXIST);
	return bpf_map_lookup_elem(&counts, caller);
}

/* Arguments: registers, number. */
SEC("raw_tp/sys_enter")
int entered(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	struct inside inside = {};
	struct count *count;

	if (!is_wanted())
		return 0;
	inside.caller.call = is_32_bit_call() ? CALLS_OF_32_BIT_PROGRAMS
					      : (__u32)ctx->args[1];
	if (by_process) {
		inside.caller.pid = current_pid();
		bpf_get_current_comm(inside.caller.comm,
				     sizeof(inside.caller.comm));
	}
	if (!failed) {
		count = count_of(&inside.caller);
		if (!count) {
			miss();
			return 0;
		}
		__sync_fetch_and_add(&count->calls, 1);
	}
	/* These do not return. */
	if (inside.caller.call == exit || inside.caller.call == exit_group)
		return 0;
	inside.start_ns = bpf_ktime_get_ns();
	if (bpf_map_update_elem(&inside_calls, &tid, &inside, BPF_ANY))
		miss();
	return 0;
}

/* Arguments: registers, result. */
SEC("raw_tp/sys_exit")
int left(struct bpf_raw_tracepoint_args *ctx)
{
	__u32 tid = bpf_get_current_pid_tgid();
	long result = (long)ctx->args[1];
	struct inside *inside;
	struct count *count;
	__u64 duration;
	bool error;

	inside = bpf_map_lookup_elem(&inside_calls, &tid);
	if (!inside)
		return 0;
	/* -MAX_ERRNO of include/linux/err.h. */
	error = result < 0 && result >= -4095;
	if (failed && !error)
		goto out;
	duration = bpf_ktime_get_ns() - inside->start_ns;
	count = count_of(&inside->caller);
	if (!count) {
		miss();
		goto out;
	}
	if (failed)
		__sync_fetch_and_add(&count->calls, 1);
	if (error)
		__sync_fetch_and_add(&count->errors, 1);
	__sync_fetch_and_add(&count->time_ns, duration);
	/* A longer one of another CPU at the same moment may be forgotten. */
	if (count->longest_ns < duration)
		count->longest_ns = duration;
out:
	bpf_map_delete_elem(&inside_calls, &tid);
	return 0;
}
