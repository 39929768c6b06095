/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Histograms that programs count in, and user space draws and exports.
 *
 *	struct {
 *		__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
 *		__uint(max_entries, 1024);
 *		__type(key, struct key);
 *		__type(value, struct histogram);
 *	} latencies SEC(".maps");
 *
 *	histogram_add(&latencies, &key, &latencies_full, value, step);
 *
 * Whose `step` is 0 has slots of powers of two: slot 0 counts the value 0, slot
 * N those from 2^(N-1) to 2^N - 1. Else slot N counts values from N * step to
 * (N + 1) * step - 1. The last slot counts all that is beyond.
 *
 * All additions are atomic, in per-CPU maps too: a program may interrupt
 * another one on its CPU. A per-CPU map pays where several CPUs add to one key
 * all the time (interrupts); a plain one takes less memory where there are many
 * keys.
 */
#ifndef BPFD_HISTOGRAM_H
#define BPFD_HISTOGRAM_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#include <linux/bpf.h>
#endif
#include <bpf/bpf_helpers.h>

/* Of microseconds, 32 powers of two go up to 36 minutes. */
#ifndef HISTOGRAM_SLOTS
#define HISTOGRAM_SLOTS 32
#endif

struct histogram {
	/* Of all values that were added. */
	__u64 sum;
	__u64 slots[HISTOGRAM_SLOTS];
};

/* Index of the highest bit that is set, plus one; 0 for 0. */
static __always_inline __u32 histogram_bits(__u64 value)
{
	__u32 bits = 0;

	if (value >> 32) {
		value >>= 32;
		bits += 32;
	}
	if (value >> 16) {
		value >>= 16;
		bits += 16;
	}
	if (value >> 8) {
		value >>= 8;
		bits += 8;
	}
	if (value >> 4) {
		value >>= 4;
		bits += 4;
	}
	if (value >> 2) {
		value >>= 2;
		bits += 2;
	}
	if (value >> 1) {
		value >>= 1;
		bits += 1;
	}
	return bits + value;
}

static __always_inline void histogram_count(struct histogram *histogram,
					    __u64 value, __u64 step)
{
	__u64 slot = step ? value / step : histogram_bits(value);

	if (slot >= HISTOGRAM_SLOTS)
		slot = HISTOGRAM_SLOTS - 1;
	__sync_fetch_and_add(&histogram->sum, value);
	__sync_fetch_and_add(&histogram->slots[slot], 1);
}

/* An array of one counter of what was left out, for `full` and the like. */
#define LEFT_OUT(NAME)                            \
	struct {                                  \
		__uint(type, BPF_MAP_TYPE_ARRAY); \
		__uint(max_entries, 1);           \
		__type(key, __u32);               \
		__type(value, __u64);             \
	} NAME SEC(".maps")

static __always_inline void left_out(void *counter)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(counter, &zero);

	if (count)
		__sync_fetch_and_add(count, 1);
}

/* What a new key begins with. */
static const struct histogram histogram_empty;

/*
 * Counts VALUE under KEY of the map HISTOGRAMS. FULL is an array of one __u64:
 * how many values found no room for their key.
 */
static __always_inline void histogram_add(void *histograms, const void *key,
					  void *full, __u64 value, __u64 step)
{
	struct histogram *found = bpf_map_lookup_elem(histograms, key);

	if (!found) {
		bpf_map_update_elem(histograms, key, &histogram_empty,
				    BPF_NOEXIST);
		found = bpf_map_lookup_elem(histograms, key);
	}
	if (found)
		histogram_count(found, value, step);
	else
		left_out(full);
}

#endif
