/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the programs read of the kernel: names and nothing else. Where a field
 * is in the target's kernel is found when the object is loaded (CO-RE).
 */
#ifndef RUNQLAT_KERNEL_H
#define RUNQLAT_KERNEL_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <stdbool.h>

/* Accesses become CO-RE relocations: places by name, fixed at load. */
#define RELOCATED __attribute__((preserve_access_index))

struct kernfs_node {
	__u64 id;
} RELOCATED;

struct cgroup {
	struct kernfs_node *kn;
} RELOCATED;

/* dfl_cgrp: in the hierarchy of cgroup v2. */
struct css_set {
	struct cgroup *dfl_cgrp;
} RELOCATED;

/* __state is called so since Linux 5.14 (commit 2f064a59a11f). */
struct task_struct {
	int pid;
	int tgid;
	unsigned int __state;
	char comm[16];
	struct css_set *cgroups;
} RELOCATED;

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#endif
