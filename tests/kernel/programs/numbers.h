/* SPDX-License-Identifier: GPL-2.0-only */
/* What a test tells its programs and they tell it: one array of numbers. */
#ifndef NUMBERS_H
#define NUMBERS_H

#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

enum number {
	NUMBER_RUNS,	/* of any program of the object; written here */
	NUMBER_SETTING, /* written by user space */
	NUMBER_SEEN,	/* what a program wants to show; written here */
	NUMBER_MAX,
};

/* By enum number. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, NUMBER_MAX);
	__type(key, __u32);
	__type(value, __u64);
} numbers SEC(".maps");

static __always_inline void ran(void)
{
	__u32 key = NUMBER_RUNS;
	__u64 *value = bpf_map_lookup_elem(&numbers, &key);

	if (value)
		__sync_fetch_and_add(value, 1);
}

static __always_inline __u64 setting(void)
{
	__u32 key = NUMBER_SETTING;
	__u64 *value = bpf_map_lookup_elem(&numbers, &key);

	return value ? *value : 0;
}

static __always_inline void show(__u64 seen)
{
	__u32 key = NUMBER_SEEN;

	bpf_map_update_elem(&numbers, &key, &seen, BPF_ANY);
}

#endif
