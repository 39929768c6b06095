/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the programs read of the kernel: names and nothing else. Where a field
 * is in the target's kernel is found when the object is loaded (CO-RE).
 */
#ifndef HARDIRQS_KERNEL_H
#define HARDIRQS_KERNEL_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <stdbool.h>

struct irqaction {
	const char *name;
} __attribute__((preserve_access_index));

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#endif
