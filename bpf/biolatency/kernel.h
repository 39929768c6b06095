/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the programs read of the kernel: names and nothing else. Where a field
 * is in the target's kernel is found when the object is loaded (CO-RE).
 */
#ifndef BIOLATENCY_KERNEL_H
#define BIOLATENCY_KERNEL_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <stdbool.h>

/* Accesses become CO-RE relocations: places by name, fixed at load. */
#define RELOCATED __attribute__((preserve_access_index))

/* Of include/linux/blk_types.h: the lowest bits are the operation. */
#define REQ_OP_MASK 0xff

struct gendisk {
	int major;
	int first_minor;
	char disk_name[32];
} RELOCATED;

/* Has the disk since Linux 5.15 (commit d152c682f03c). */
struct request_queue {
	struct gendisk *disk;
} RELOCATED;

struct request {
	struct request_queue *q;
	unsigned int cmd_flags;
	unsigned int __data_len;
} RELOCATED;

/* Numbers are the target's own. */
enum req_flag_bits {
	__REQ_SYNC = 1,
	__REQ_META,
	__REQ_FUA,
	__REQ_PREFLUSH,
	__REQ_RAHEAD,
	__REQ_BACKGROUND,
};

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

#endif
