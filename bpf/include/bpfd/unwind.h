/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * User stacks of programs without frame pointers.
 *
 * The workstation turns the .eh_frame of every executable file that a process
 * maps into a table of rows, ordered by address: where the caller's frame is
 * and where it keeps the return address (client/bpfctl/unwind). unwind_user()
 * walks the stack of the current task by these tables, from the registers
 * with which it entered the kernel. What no table covers (code that a JIT
 * made, the vDSO) is walked by its frame pointers.
 *
 *	struct unwound *user = unwind_user();
 *
 *	if (user && user->count)
 *		...user->addresses[0] is the function that ran
 *
 * x86-64 and arm64. Needs bpf_loop() (Linux 5.17).
 */
#ifndef BPFD_UNWIND_H
#define BPFD_UNWIND_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#include <linux/bpf.h>
#include <stdbool.h>
#endif
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>
#include <bpfd/shown.h>

/* As many as kernel.perf_event_max_stack. */
#define UNWIND_DEPTH 127
/* Executable mappings of a process; those beyond are walked by frame pointers. */
#define UNWIND_MAPPINGS 128
#define UNWIND_MAPPING_STEPS 8
/* Halvings of a table: 2^22 rows. */
#define UNWIND_SEARCH_STEPS 23

/* Where the canonical frame address (CFA) is: the stack pointer of the caller
 * before its call. */
enum unwind_kind {
	UNWIND_NONE,
	UNWIND_SP,
	UNWIND_FP,
	UNWIND_FP_DEREF,
	UNWIND_PLT,
	UNWIND_SIGNAL,
	UNWIND_END,
	UNWIND_OTHER,
};

#define UNWIND_KIND_BITS 3

/* From `start` of the file's addresses up to the next row. */
struct unwind_row {
	__u32 start;
	/* Offset << UNWIND_KIND_BITS | kind. */
	__s32 cfa;
	/* From the CFA; 0: the caller's frame pointer is unchanged. */
	__s16 fp;
	/* From the CFA; 0: the return address is in the link register. */
	__s16 ra;
};

/* An executable mapping, [start, end) of the process. */
struct unwind_mapping {
	__u64 start;
	__u64 end;
	/* Of the process's addresses above the file's. */
	__u64 bias;
	/* Index in unwind_tables. */
	__u32 table;
	/* Of that table; 0: it has none, frame pointers are used. */
	__u32 rows;
};

struct unwind_process {
	__u32 count;
	__u32 unused;
	/* By address. */
	struct unwind_mapping mappings[UNWIND_MAPPINGS];
};

/* How walks ended. */
enum unwind_end {
	/* At the outermost function. */
	UNWIND_COMPLETE,
	/* More than UNWIND_DEPTH frames. */
	UNWIND_TOO_DEEP,
	/* The process is not in unwind_processes: frame pointers only. */
	UNWIND_UNKNOWN_PROCESS,
	/* An address that is in no function of its file, or in no mapping. */
	UNWIND_NO_FUNCTION,
	/* A rule that is not read here: an expression, a rare register. */
	UNWIND_NO_RULE,
	/* The stack could not be read: not in memory, or not a stack. */
	UNWIND_UNREADABLE,
	/* A 32-bit program on a 64-bit kernel, or a processor not known here. */
	UNWIND_NO_MACHINE,
	UNWIND_ENDS,
};

struct unwound {
	__u32 count;
	/* enum unwind_end */
	__u32 end;
	/* The innermost first; return addresses from the second on. Zeros behind
	 * the last. */
	__u64 addresses[UNWIND_DEPTH + 1];
	/* While walking. */
	__u64 pc, sp, fp, lr;
	__u32 tgid;
	/* pc is where the task was, not where a call returns to. */
	__u32 exact;
};

/* Processes by tgid of the init pid namespace. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__type(value, struct unwind_process);
} unwind_processes SEC(".maps");

/* Tables of files. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4096);
	__type(key, __u32);
	__array(
		values, struct {
			__uint(type, BPF_MAP_TYPE_ARRAY);
			__uint(map_flags, BPF_F_INNER_MAP);
			__uint(max_entries, 1);
			__uint(key_size, sizeof(__u32));
			__uint(value_size, sizeof(struct unwind_row));
		});
} unwind_tables SEC(".maps");

KEY_OF_ENUM(unwind_end);

/* Walks by enum unwind_end. Written by programs, read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, UNWIND_ENDS);
	__type(key, unwind_end_key);
	__type(value, __u64);
} unwind_ends SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct unwound);
} unwind_room SEC(".maps");

#if defined(__TARGET_ARCH_x86)
struct pt_regs___unwind {
	unsigned long bp, ip, cs, sp;
} __attribute__((preserve_access_index));
/* User code of 64 bits; arch/x86/include/asm/segment.h. */
#define UNWIND_USER_CS 0x33
#elif defined(__TARGET_ARCH_arm64)
struct pt_regs___unwind {
	__u64 regs[31];
	__u64 sp, pc, pstate;
} __attribute__((preserve_access_index));
/* Bit 4 of PSTATE: AArch32. */
#define UNWIND_AARCH32 0x10
/* Above the 48 bits of user addresses there may be tags and signatures. */
#define UNWIND_ADDRESS 0x0000ffffffffffffULL
#endif

/* Reads the registers with which the task entered the kernel; false: it has
 * none that can be walked. */
static __always_inline bool unwind_begin(struct unwound *at)
{
#if defined(__TARGET_ARCH_x86) || defined(__TARGET_ARCH_arm64)
	struct pt_regs___unwind *regs =
		(void *)bpf_task_pt_regs((void *)bpf_get_current_task_btf());
#endif

#if defined(__TARGET_ARCH_x86)
	if (BPF_CORE_READ(regs, cs) != UNWIND_USER_CS)
		return false;
	at->pc = BPF_CORE_READ(regs, ip);
	at->sp = BPF_CORE_READ(regs, sp);
	at->fp = BPF_CORE_READ(regs, bp);
	return true;
#elif defined(__TARGET_ARCH_arm64)
	if (BPF_CORE_READ(regs, pstate) & UNWIND_AARCH32)
		return false;
	at->pc = BPF_CORE_READ(regs, pc);
	at->sp = BPF_CORE_READ(regs, sp);
	at->fp = BPF_CORE_READ(regs, regs[29]);
	at->lr = BPF_CORE_READ(regs, regs[30]) & UNWIND_ADDRESS;
	return true;
#else
	return false;
#endif
}

static __always_inline int unwind_read(__u64 *value, __u64 address)
{
	return bpf_probe_read_user(value, sizeof(*value), (void *)address);
}

/* The last mapping that begins at or before the address. */
static __always_inline struct unwind_mapping *
unwind_mapping_of(struct unwind_process *process, __u64 address)
{
	__u32 low = 0, high = process->count, step;
	struct unwind_mapping *found;

	for (step = 0; step < UNWIND_MAPPING_STEPS && low < high; step++) {
		__u32 middle = (low + high) / 2;

		if (middle >= UNWIND_MAPPINGS)
			return NULL;
		if (process->mappings[middle].start <= address)
			low = middle + 1;
		else
			high = middle;
	}
	low--;
	if (low >= UNWIND_MAPPINGS)
		return NULL;
	found = &process->mappings[low];
	return address < found->end ? found : NULL;
}

/* The last row that begins at or before the address of the file. */
static __always_inline struct unwind_row *
unwind_row_of(struct unwind_mapping *mapping, __u64 address)
{
	__u32 low = 0, high = mapping->rows, step, table = mapping->table;
	void *rows = bpf_map_lookup_elem(&unwind_tables, &table);
	struct unwind_row *row, *found = NULL;

	if (!rows)
		return NULL;
	for (step = 0; step < UNWIND_SEARCH_STEPS && low < high; step++) {
		__u32 middle = (low + high) / 2;

		row = bpf_map_lookup_elem(rows, &middle);
		if (!row)
			return NULL;
		if (row->start <= address) {
			found = row;
			low = middle + 1;
		} else {
			high = middle;
		}
	}
	return found;
}

static __always_inline long unwind_stop(struct unwound *at, enum unwind_end end)
{
	at->end = end;
	return 1;
}

/* To the caller by frame record: the saved frame pointer and after it the
 * return address, on both processors. */
static __always_inline long unwind_by_frame_pointer(struct unwound *at)
{
	__u64 fp, ra;

	if (!at->fp)
		return unwind_stop(at, UNWIND_COMPLETE);
	/* A frame record is aligned and above the stack pointer. */
	if (at->fp & 7 || at->fp < at->sp)
		return unwind_stop(at, UNWIND_NO_FUNCTION);
	if (unwind_read(&fp, at->fp) || unwind_read(&ra, at->fp + 8))
		return unwind_stop(at, UNWIND_UNREADABLE);
	at->sp = at->fp + 16;
	at->fp = fp;
	at->pc = ra;
	at->exact = 0;
	return 0;
}

#if defined(__TARGET_ARCH_x86)
/* Offsets in struct ucontext, which is at the stack pointer when a handler has
 * returned: arch/x86/include/uapi/asm/ucontext.h and sigcontext.h. */
enum {
	UNWIND_UC_RBP = 120,
	UNWIND_UC_RSP = 160,
	UNWIND_UC_RIP = 168
};

static __always_inline long unwind_signal(struct unwound *at)
{
	__u64 sp = at->sp;

	if (unwind_read(&at->pc, sp + UNWIND_UC_RIP) ||
	    unwind_read(&at->fp, sp + UNWIND_UC_RBP) ||
	    unwind_read(&at->sp, sp + UNWIND_UC_RSP))
		return unwind_stop(at, UNWIND_UNREADABLE);
	at->exact = 1;
	return 0;
}
#endif

/* From one function to its caller; 1 ends the walk. */
static long unwind_step(__u32 index, void *unused)
{
	struct unwind_process *process;
	struct unwind_mapping *mapping;
	struct unwind_row *row = NULL;
	__u32 zero = 0, kind;
	struct unwound *at;
	__u64 looked, cfa;
	__s64 offset;

	at = bpf_map_lookup_elem(&unwind_room, &zero);
	if (!at)
		return 1;
#if defined(__TARGET_ARCH_arm64)
	at->pc &= UNWIND_ADDRESS;
#endif
	if (!at->pc)
		return unwind_stop(at, UNWIND_COMPLETE);
	if (at->count >= UNWIND_DEPTH)
		return unwind_stop(at, UNWIND_TOO_DEEP);
	at->addresses[at->count & UNWIND_DEPTH] = at->pc;
	at->count++;

	process = bpf_map_lookup_elem(&unwind_processes, &at->tgid);
	if (!process)
		return unwind_by_frame_pointer(at);
	/* A call may be a function's last instruction. */
	looked = at->exact ? at->pc : at->pc - 1;
	mapping = unwind_mapping_of(process, looked);
	if (!mapping || !mapping->rows)
		return unwind_by_frame_pointer(at);
	row = unwind_row_of(mapping, looked - mapping->bias);
	if (!row)
		return unwind_stop(at, UNWIND_NO_FUNCTION);

	kind = row->cfa & ((1 << UNWIND_KIND_BITS) - 1);
	offset = row->cfa >> UNWIND_KIND_BITS;
	switch (kind) {
	case UNWIND_SP:
		cfa = at->sp + offset;
		break;
	case UNWIND_FP:
		cfa = at->fp + offset;
		break;
	case UNWIND_FP_DEREF:
		if (unwind_read(&cfa, at->fp + offset))
			return unwind_stop(at, UNWIND_UNREADABLE);
		break;
#if defined(__TARGET_ARCH_x86)
	case UNWIND_PLT:
		cfa = at->sp + offset + ((at->pc & 15) >= 11 ? 8 : 0);
		break;
	case UNWIND_SIGNAL:
		return unwind_signal(at);
#endif
	case UNWIND_END:
		return unwind_stop(at, UNWIND_COMPLETE);
	case UNWIND_OTHER:
		return unwind_stop(at, UNWIND_NO_RULE);
	default:
		return unwind_stop(at, UNWIND_NO_FUNCTION);
	}

	if (row->ra) {
		if (unwind_read(&at->pc, cfa + row->ra))
			return unwind_stop(at, UNWIND_UNREADABLE);
	} else {
		/* Only the innermost function may leave it there. */
		if (!at->exact)
			return unwind_stop(at, UNWIND_NO_RULE);
		at->pc = at->lr;
	}
	if (row->fp && unwind_read(&at->fp, cfa + row->fp))
		return unwind_stop(at, UNWIND_UNREADABLE);
	/* A stack grows downwards; a frame of no bytes is one that keeps nothing. */
	if (cfa < at->sp || (cfa == at->sp && !at->exact))
		return unwind_stop(at, UNWIND_UNREADABLE);
	at->sp = cfa;
	at->exact = 0;
	return 0;
}

/* The current task's user stack; valid until this CPU's next call. NULL: there
 * is no user stack, as of a kernel thread. */
static __always_inline struct unwound *unwind_user(void)
{
	__u32 zero = 0, end;
	struct unwound *at = bpf_map_lookup_elem(&unwind_room, &zero);
	__u64 *ends;

	if (!at)
		return NULL;
	__builtin_memset(at->addresses, 0, sizeof(at->addresses));
	at->count = 0;
	at->exact = 1;
	at->lr = 0;
	at->end = UNWIND_TOO_DEEP;
	at->tgid = bpf_get_current_pid_tgid() >> 32;
	if (!unwind_begin(at)) {
		at->end = UNWIND_NO_MACHINE;
	} else {
		bpf_loop(UNWIND_DEPTH + 1, unwind_step, NULL, 0);
		if (!bpf_map_lookup_elem(&unwind_processes, &at->tgid))
			at->end = UNWIND_UNKNOWN_PROCESS;
	}
	end = at->end;
	ends = bpf_map_lookup_elem(&unwind_ends, &end);
	if (ends)
		(*ends)++;
	return at;
}

#endif
