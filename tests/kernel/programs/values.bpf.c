/* SPDX-License-Identifier: GPL-2.0-only */
/* Maps whose keys and values have types with narrow ranges. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

enum color {
	RED,
	GREEN = 5,
};

struct settings {
	__u8 small;
	__s16 signed_;
	enum color color;
	char name[8];
	__be32 address;
	__u8 mac[6];
};

struct prefix {
	__u32 length;
	__be32 address;
};

/* Four entries, of every kind of field. Written and read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, struct settings);
} val_structs SEC(".maps");

/* Written and read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, __s32);
	__type(value, __s64);
} val_signed SEC(".maps");

/* Written and read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 4);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix);
	__type(value, __u32);
} val_prefixes SEC(".maps");

/* Full after the first entry. Written and read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} val_percpu SEC(".maps");

/* As large as a dump that takes a while. Written and read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1 << 20);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__uint(key_size, 16);
	__uint(value_size, 16);
} val_many SEC(".maps");

SEC("xdp")
int uses_all(struct xdp_md *ctx)
{
	__u32 key = 0;
	__s32 number = 0;
	struct prefix prefix = {};
	char many[16] = {};

	bpf_map_lookup_elem(&val_structs, &key);
	bpf_map_lookup_elem(&val_signed, &number);
	bpf_map_lookup_elem(&val_prefixes, &prefix);
	bpf_map_lookup_elem(&val_percpu, &key);
	bpf_map_lookup_elem(&val_many, many);
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
