/* SPDX-License-Identifier: GPL-2.0-only */
/* What objects of other people hold and this project's own do not. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define PROGRAM SEC("socket") int

PROGRAM for_first(void *ctx);

/* Programs by number; one of them from the start. Read by calls_second. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 4);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} fo_programs SEC(".maps") = {
	.values = { [2] = (void *)&for_first },
};

/* Calls by state. Written by for_first. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} fo_calls SEC(".maps"), fo_other SEC(".maps");

/* Arrays by key; one of them from the start. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 2);
	__type(key, __u32);
	__array(values, typeof(fo_calls));
} fo_outer SEC(".maps") = {
	.values = { (void *)&fo_calls },
};

#ifdef NO_ENTRIES
/* Its size is left to whoever loads the object. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__type(key, __u32);
	__type(value, __u64);
} fo_unsized SEC(".maps");
#endif

#ifdef NO_INNER
/* What is in it is left to whoever loads the object. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__uint(value_size, sizeof(__u32));
} fo_outline SEC(".maps");
#endif

#ifdef NO_VALUE
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__uint(key_size, sizeof(__u32));
} fo_valueless SEC(".maps");
#endif

#ifdef NO_DEPTH
/* Stacks whose depth is left to whoever loads the object. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 8);
	__uint(key_size, sizeof(__u32));
} fo_stacks SEC(".maps");
#endif

#ifdef WRONG_FLAGS
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 8);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, __u32);
	__type(value, __u64);
} fo_flags SEC(".maps");
#endif

struct pair {
	int a, b;
};

PROGRAM for_first(void *ctx)
{
	static volatile struct pair seen;

	return seen.a++;
}

PROGRAM calls_second(void *ctx)
{
	static volatile __u64 seen;

	seen++;
	bpf_tail_call(ctx, &fo_programs, 2);
	return 0;
}

/* Loaded only when asked for. */
SEC("?tc")
int on_request(void *ctx)
{
	return 0;
}

#ifdef KFUNC
extern int no_function_of_any_kernel(int argument) __ksym;

SEC("tc")
int calls_kernel(void *ctx)
{
	return no_function_of_any_kernel(1);
}
#endif

#ifdef KSYM
extern const int no_variable_of_any_kernel __ksym;

SEC("tc")
int reads_kernel(void *ctx)
{
	return no_variable_of_any_kernel;
}
#endif

#ifdef STRUCT_OPS
struct sock;
struct tcp_congestion_ops {
	__u32 (*ssthresh)(struct sock *sk);
	void (*cong_avoid)(struct sock *sk, __u32 ack, __u32 acked);
	__u32 (*undo_cwnd)(struct sock *sk);
	char name[16];
} __attribute__((preserve_access_index));

SEC("struct_ops/fo_threshold")
__u32 fo_threshold(__u64 *ctx)
{
	return 2;
}

SEC("struct_ops/fo_avoid")
void fo_avoid(__u64 *ctx)
{
}

SEC("struct_ops/fo_undo")
__u32 fo_undo(__u64 *ctx)
{
	return 2;
}

SEC(".struct_ops")
struct tcp_congestion_ops fo_congestion = {
	.ssthresh = (void *)fo_threshold,
	.cong_avoid = (void *)fo_avoid,
	.undo_cwnd = (void *)fo_undo,
	.name = "fo_congestion",
};
#endif

#ifdef FENTRY
SEC("fentry/vfs_read")
int traces_reads(void *ctx)
{
	return 0;
}
#endif

#ifdef NO_TARGET
SEC("tp_btf/no_tracepoint_of_any_kernel")
int traces_nothing(void *ctx)
{
	return 0;
}
#endif

#ifdef FREPLACE
SEC("freplace/some_function")
int replaces_function(struct xdp_md *ctx)
{
	return 0;
}
#endif

char LICENSE[] SEC("license") = "GPL";
