/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Which processes a tracing program tells of: settings, and is_wanted(), which
 * compares the process that runs with them. A setting that is 0 or empty costs
 * nothing, as the verifier removes what it guards.
 *
 * Works with the UAPI headers and with vmlinux.h (included before this file).
 */
#ifndef BPFD_PROCESS_H
#define BPFD_PROCESS_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#include <linux/bpf.h>
#include <stdbool.h>
#endif
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>

/* Accesses become CO-RE relocations: places by name, fixed at load. What is
 * behind the ___ is no part of the kernel's name. */
#define OF_KERNEL __attribute__((preserve_access_index))

struct ns_common___bpfd {
	unsigned int inum;
} OF_KERNEL;

struct net___bpfd {
	struct ns_common___bpfd ns;
} OF_KERNEL;

struct nsproxy___bpfd {
	struct net___bpfd *net_ns;
} OF_KERNEL;

/* status is x86's, flags are every architecture's. */
struct thread_info___bpfd {
	unsigned long flags;
	__u32 status;
} OF_KERNEL;

struct mm_struct___bpfd {
	unsigned long arg_start;
	unsigned long arg_end;
} OF_KERNEL;

struct task_struct___bpfd {
	struct thread_info___bpfd thread_info;
	struct nsproxy___bpfd *nsproxy;
	struct mm_struct___bpfd *mm;
	struct task_struct___bpfd *real_parent;
	int tgid;
} OF_KERNEL;

/* Only this process (not thread); 0: all. */
const volatile __u32 pid = 0;
/* Only processes of this cgroup (v2, not of those below it), by id; 0: all. */
const volatile __u64 cgroup = 0;
/* Only threads of this name; empty: all. */
const volatile char comm[16] = {};
/* Only processes of this user; -1: all, as 0 is root. */
const volatile __s64 uid = -1;
/* Only processes in this network namespace, by inode; 0: all. */
const volatile __u32 netns = 0;

static __always_inline struct task_struct___bpfd *current_task(void)
{
	return (struct task_struct___bpfd *)bpf_get_current_task();
}

static __always_inline __u32 current_pid(void)
{
	return bpf_get_current_pid_tgid() >> 32;
}

static __always_inline bool has_wanted_name(void)
{
	char name[sizeof(comm)] = {};

	if (bpf_get_current_comm(name, sizeof(name)))
		return false;
#pragma unroll
	for (int i = 0; i < (int)sizeof(comm); i++) {
		if (name[i] != comm[i])
			return false;
		if (!name[i])
			break;
	}
	return true;
}

/* Whether the process that runs is one of those that were asked for, its
 * network namespace aside. */
static __always_inline bool is_wanted_process(void)
{
	if (pid && current_pid() != pid)
		return false;
	if (uid >= 0 && (__u32)bpf_get_current_uid_gid() != uid)
		return false;
	if (cgroup && bpf_get_current_cgroup_id() != cgroup)
		return false;
	return !comm[0] || has_wanted_name();
}

static __always_inline bool is_wanted(void)
{
	if (netns &&
	    BPF_CORE_READ(current_task(), nsproxy, net_ns, ns.inum) != netns)
		return false;
	return is_wanted_process();
}

/* Whether a system call is one of a 32-bit program on a 64-bit kernel, whose
 * numbers are others: TS_COMPAT of arch/x86/include/asm/thread_info.h, and
 * TIF_32BIT of arch/arm64/include/asm/thread_info.h. */
static __always_inline bool is_32_bit_call(void)
{
#if defined(__TARGET_ARCH_x86)
	return BPF_CORE_READ(current_task(), thread_info.status) & 2;
#elif defined(__TARGET_ARCH_arm64)
	return BPF_CORE_READ(current_task(), thread_info.flags) >> 22 & 1;
#else
	return false;
#endif
}

#endif
