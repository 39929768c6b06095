/* SPDX-License-Identifier: GPL-2.0-only */
/* A hash map with 16-byte keys and values. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct flow {
	__u64 address;
	__u32 port;
	__u32 protocol;
};

struct traffic {
	__u64 packets;
	__u64 bytes;
};

/* Filled and read by the benchmark only. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1000000);
	__type(key, struct flow);
	__type(value, struct traffic);
} flows SEC(".maps");

SEC("syscall")
int nothing(void *context)
{
	return bpf_map_lookup_elem(&flows, &(struct flow){}) != 0;
}

char LICENSE[] SEC("license") = "GPL";
