/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Counts by stack, in the kernel: for profiles.
 *
 *	__u64 user = put_stack(ctx, BPF_F_USER_STACK);
 *	struct stack_key key = { .user = user, ... };
 *
 *	add(&key, 1, 0);
 *
 * A stack goes under its 64-bit hash into one map, what was counted goes under
 * the hashes into another. Both are there twice, and control_generation says
 * which pair programs write. User space turns it, waits until no program that
 * began before can still run, reads the other pair and empties it: nothing is
 * lost while it reads, and the memory is bounded. A hash says what the stack
 * is and not where it lies, so it means the same in every turn.
 *
 * What could not be kept is counted by reason; what was counted is, too:
 * user space checks that the sums agree.
 */
#ifndef BPFD_STACKS_H
#define BPFD_STACKS_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <stdbool.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpfd/shown.h>
#if defined(__TARGET_ARCH_x86) || defined(__TARGET_ARCH_arm64)
#define STACKS_BY_TABLES
#include <bpfd/unwind.h>
#endif

/* Frames of a stack at most: kernel.perf_event_max_stack, unless changed. */
#define STACK_DEPTH 127

/* Of the kernel's include/linux/sched.h: no user space. */
#define PF_KTHREAD 0x00200000

struct task_struct {
	int pid;
	int tgid;
	unsigned int flags;
	struct task_struct *group_leader;
	char comm[16];
} __attribute__((preserve_access_index));

/* What the time or the samples are of. */
enum stack_state {
	/* It ran on a CPU. */
	RUNNING,
	/* It waited for something. */
	BLOCKED,
	/* It waited for a CPU. */
	RUNNABLE,
};

/* Addresses, the innermost first, zeros behind the last. */
struct stack {
	__u64 addresses[STACK_DEPTH];
};

struct stack_key {
	/* Hash of the stack of user space; 0: none. */
	__u64 user;
	/* Hash of the kernel's stack; 0: none. */
	__u64 kernel;
	/* Process in the first pid namespace. */
	__u32 pid;
	/* Thread there; 0 unless threads are kept apart. */
	__u32 tid;
	enum stack_state state;
	__u32 unused;
	/* Of the process, or of the thread where these are kept apart. */
	char comm[16];
};

struct stack_sum {
	__u64 count;
	/* Time, where it is time that is counted. */
	__u64 ns SHOWN_AS("ns");
};

/* Places of `stack_events`. */
enum stack_event {
	/* Calls of add(); each is in a sum or in one of the two below. */
	ADDED,
	/* Lost: the map of sums was full. */
	SUMS_FULL,
	/* Lost: the map of sums was locked by who was interrupted. */
	SUMS_BUSY,
	/* The sum is kept, its stack is not: the map of stacks was full. */
	STACKS_FULL,
	/* The same, as the map was locked by who was interrupted. */
	STACKS_BUSY,
	/* The sum is kept, its stack of user space could not be read. */
	USER_UNREADABLE,
	/* The sum is kept, the kernel's stack could not be read. */
	KERNEL_UNREADABLE,
	/* The stack has STACK_DEPTH frames: there may be more outside. */
	TRUNCATED,
	/* A process whose children are followed had a child too many. */
	PIDS_FULL,
	/* The sum is kept, its stack of user space was walked by frame pointers,
	 * as there were no tables of the process yet. */
	TABLES_LATE,
	STACK_EVENTS,
};

/* Threads are kept apart, else processes. */
const volatile bool per_thread = false;
/* Leave out the kernel's stacks, or those of user space. */
const volatile bool without_kernel = false;
const volatile bool without_user = false;
/* Walk stacks of user space by tables of bpfd/unwind.h, else by frame pointers. */
const volatile bool by_tables = false;
/* Only processes in the map `pids`. */
const volatile bool only_pids = false;
/* Only tasks of this cgroup and those below, by id; 0: all. */
const volatile __u64 cgroup = 0;
/* How far that cgroup is below the root. */
const volatile __u32 cgroup_level = 0;
/* Only processes or threads of this name; empty: all. */
const volatile char comm[16] = "";

/*
 * Stacks by hash. Written by programs, read and emptied by user space. 4,096
 * are 4.5 MB each; who loads it says how many can come in one turn.
 */
struct stacks {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, __u64);
	__type(value, struct stack);
};
struct stacks stacks_0 SEC(".maps");
struct stacks stacks_1 SEC(".maps");

/* Sums by stacks and process. Written, read and emptied as stacks are. */
struct sums {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, struct stack_key);
	__type(value, struct stack_sum);
};
struct sums sums_0 SEC(".maps");
struct sums sums_1 SEC(".maps");

/* 0 or 1: the pair of maps that is written. Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} control SEC(".maps");

/* Processes to look at where `only_pids`, by their number in the first pid
 * namespace. Written by user space and, where children are followed, by
 * programs. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8192);
	__type(key, __u32);
	__type(value, __u8);
} pids SEC(".maps");

KEY_OF_ENUM(stack_event);

/* Counts of enum stack_event. Written by programs, read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, STACK_EVENTS);
	__type(key, stack_event_key);
	__type(value, __u64);
} stack_events SEC(".maps");

/* Where a stack is put together: it is too large for the stack of a program.
 * One place for each CPU, as a program does not interrupt itself. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct stack);
} stack_room SEC(".maps");

static __always_inline void count_event(__u32 event)
{
	__u64 *count = bpf_map_lookup_elem(&stack_events, &event);

	if (count)
		(*count)++;
}

static __always_inline __u32 generation(void)
{
	__u32 zero = 0, *found = bpf_map_lookup_elem(&control, &zero);

	return found ? *found & 1 : 0;
}

static __always_inline bool same_name(const char *name)
{
	for (int i = 0; i < 16; i++) {
		if (name[i] != comm[i])
			return false;
		if (!name[i])
			break;
	}
	return true;
}

/*
 * Whether the task that runs is to be looked at. Fills in whose it is.
 */
static __always_inline bool describe_current(struct stack_key *key,
					     struct task_struct *task)
{
	__u64 id = bpf_get_current_pid_tgid();
	char thread[16] = {};

	key->pid = id >> 32;
	if (only_pids && !bpf_map_lookup_elem(&pids, &key->pid))
		return false;
	if (cgroup &&
	    bpf_get_current_ancestor_cgroup_id(cgroup_level) != cgroup)
		return false;
	BPF_CORE_READ_STR_INTO(&key->comm, task, group_leader, comm);
	if (per_thread || comm[0])
		bpf_get_current_comm(thread, sizeof(thread));
	if (comm[0] && !same_name(key->comm) && !same_name(thread))
		return false;
	if (per_thread) {
		key->tid = (__u32)id;
		__builtin_memcpy(key->comm, thread, sizeof(thread));
	}
	return true;
}

static __always_inline void keep_stack(void *map, __u64 hash,
				       struct stack *stack)
{
	long error;

	if (bpf_map_lookup_elem(map, &hash))
		return;
	error = bpf_map_update_elem(map, &hash, stack, BPF_NOEXIST);
	if (error == -7) /* E2BIG */
		count_event(STACKS_FULL);
	else if (error && error != -17) /* EEXIST: another CPU was faster */
		count_event(STACKS_BUSY);
}

/* Keeps a stack with zeros behind its last address, and returns its hash. */
static __always_inline __u64 hash_and_keep(struct stack *stack)
{
	__u64 hash = 14695981039346656037ULL;

	/* By FNV-1a, http://www.isthe.com/chongo/tech/comp/fnv/, of words in
	 * place of bytes; so high bits are folded into the low ones. */
	for (__u32 i = 0; i < STACK_DEPTH; i++) {
		if (!stack->addresses[i])
			break;
		hash = (hash ^ stack->addresses[i]) * 1099511628211ULL;
		hash ^= hash >> 29;
	}
	hash |= !hash;
	if (generation())
		keep_stack(&stacks_1, hash, stack);
	else
		keep_stack(&stacks_0, hash, stack);
	return hash;
}

/*
 * Takes the stack of the task that runs (flags: BPF_F_USER_STACK or 0) as the
 * kernel walks it, and returns its hash; 0: there is none.
 */
static __always_inline __u64 put_stack(void *ctx, __u64 flags)
{
	__u32 zero = 0;
	struct stack *stack = bpf_map_lookup_elem(&stack_room, &zero);
	long bytes;

	if (!stack)
		return 0;
	/* It fills the rest with zeros. */
	bytes = bpf_get_stack(ctx, stack, sizeof(*stack), flags);
	if (bytes < 0)
		count_event(flags ? USER_UNREADABLE : KERNEL_UNREADABLE);
	if (bytes <= 0)
		return 0;
	if (bytes == sizeof(*stack))
		count_event(TRUNCATED);
	return hash_and_keep(stack);
}

/* The same for user space, by tables where that is wished and possible. */
static __always_inline __u64 put_user_stack(void *ctx)
{
#ifdef STACKS_BY_TABLES
	_Static_assert(UNWIND_DEPTH == STACK_DEPTH, "as deep as others");
	__u32 pid = bpf_get_current_pid_tgid() >> 32;
	struct unwound *at;

	if (by_tables && bpf_map_lookup_elem(&unwind_processes, &pid)) {
		at = unwind_user();
		if (at && at->end != UNWIND_NO_MACHINE) {
			if (at->end == UNWIND_TOO_DEEP)
				count_event(TRUNCATED);
			return hash_and_keep((struct stack *)at->addresses);
		}
	} else if (by_tables) {
		count_event(TABLES_LATE);
	}
#endif
	return put_stack(ctx, BPF_F_USER_STACK);
}

static __always_inline void add_to(void *map, struct stack_key *key,
				   __u64 count, __u64 ns)
{
	struct stack_sum fresh = { .count = count, .ns = ns };
	struct stack_sum *sum = bpf_map_lookup_elem(map, key);
	long error = 0;

	if (!sum) {
		error = bpf_map_update_elem(map, key, &fresh, BPF_NOEXIST);
		if (!error)
			return;
		sum = bpf_map_lookup_elem(map, key);
	}
	if (!sum) {
		count_event(error == -7 ? SUMS_FULL : SUMS_BUSY);
		return;
	}
	__sync_fetch_and_add(&sum->count, count);
	if (ns)
		__sync_fetch_and_add(&sum->ns, ns);
}

/* Adds to the sum of a key. */
static __always_inline void add(struct stack_key *key, __u64 count, __u64 ns)
{
	count_event(ADDED);
	if (generation())
		add_to(&sums_1, key, count, ns);
	else
		add_to(&sums_0, key, count, ns);
}

/* Both stacks of the task that runs. */
static __always_inline void put_stacks(void *ctx, struct stack_key *key,
				       struct task_struct *task)
{
	if (!without_kernel)
		key->kernel = put_stack(ctx, 0);
	if (!without_user && !(BPF_CORE_READ(task, flags) & PF_KTHREAD))
		key->user = put_user_stack(ctx);
}

/*
 * Children of the processes in `pids` come into it, and those that end leave
 * it. Attached where children are followed.
 */
SEC("raw_tp/sched_process_fork")
int follow_fork(struct bpf_raw_tracepoint_args *ctx)
{
	struct task_struct *child = (struct task_struct *)ctx->args[1];
	__u32 parent = bpf_get_current_pid_tgid() >> 32;
	__u32 pid = BPF_CORE_READ(child, tgid);
	__u8 one = 1;

	if (pid == parent || !bpf_map_lookup_elem(&pids, &parent))
		return 0;
	if (bpf_map_update_elem(&pids, &pid, &one, BPF_ANY))
		count_event(PIDS_FULL);
	return 0;
}

SEC("raw_tp/sched_process_exit")
int follow_exit(struct bpf_raw_tracepoint_args *ctx)
{
	__u64 id = bpf_get_current_pid_tgid();
	__u32 pid = id >> 32;

	if (pid == (__u32)id)
		bpf_map_delete_elem(&pids, &pid);
	return 0;
}

#endif
