/* SPDX-License-Identifier: GPL-2.0-only */
/* What a person may start with: counts context switches of one process. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

const volatile __u32 watched = 1;

/* Context switches. Written by count, read by people. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} switches SEC(".maps");

SEC("raw_tp/sched_switch")
int count(void *context)
{
	__u32 key = 0;
	__u64 *value;

	if (bpf_get_current_pid_tgid() >> 32 != watched)
		return 0;
	value = bpf_map_lookup_elem(&switches, &key);
	if (value)
		__sync_fetch_and_add(value, 1);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
