/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One program for each kind of hook. Each counts its runs, so that a test sees it run.
 * GETPRIORITY is the number of getpriority(2), which the compiler is told.
 */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>
#include <stdbool.h>

enum hit {
	HIT_XDP,
	HIT_XDP_DROP,
	HIT_TC,
	HIT_TC_DROP,
	HIT_CGROUP,
	HIT_SOCK_OPS,
	HIT_TRACEPOINT,
	HIT_RAW_TRACEPOINT,
	HIT_TP_BTF,
	HIT_UPROBE,
	HIT_URETPROBE,
	HIT_SAMPLE,
	HIT_OTHER,
	HIT_COOKIE,
	HIT_MAX,
};

/* Runs by enum hit; HIT_COOKIE holds the cookie of the last tracing run. Written here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, HIT_MAX);
	__type(key, __u32);
	__type(value, __u64);
} hits SEC(".maps");

/* Process that tracing programs count; 0: every process. Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} only SEC(".maps");

static __always_inline void hit(__u32 which)
{
	__u64 *count = bpf_map_lookup_elem(&hits, &which);

	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline bool is_counted(void)
{
	__u32 zero = 0, *pid = bpf_map_lookup_elem(&only, &zero);

	return pid && (!*pid || *pid == bpf_get_current_pid_tgid() >> 32);
}

static __always_inline void traced(__u32 which, void *ctx)
{
	__u32 key = HIT_COOKIE;
	__u64 cookie;

	if (!is_counted())
		return;
	cookie = bpf_get_attach_cookie(ctx);
	bpf_map_update_elem(&hits, &key, &cookie, BPF_ANY);
	hit(which);
}

/* Raw tracepoints have cookies since Linux 6.10. */
static __always_inline void traced_raw(__u32 which, void *ctx)
{
#ifdef WITHOUT_RAW_COOKIES
	if (is_counted())
		hit(which);
#else
	traced(which, ctx);
#endif
}

/* IPv4 and UDP: neighbour discovery stays undisturbed. */
static __always_inline int is_udp(void *data, void *end)
{
	__u8 *bytes = data;

	return data + 34 <= end && bytes[12] == 8 && bytes[13] == 0 &&
	       bytes[23] == 17;
}

SEC("xdp")
int xdp_count(struct xdp_md *ctx)
{
	if (is_udp((void *)(long)ctx->data, (void *)(long)ctx->data_end))
		hit(HIT_XDP);
	return XDP_PASS;
}

SEC("xdp")
int xdp_drop(struct xdp_md *ctx)
{
	if (!is_udp((void *)(long)ctx->data, (void *)(long)ctx->data_end))
		return XDP_PASS;
	hit(HIT_XDP_DROP);
	return XDP_DROP;
}

SEC("tc")
int tc_count(struct __sk_buff *skb)
{
	bpf_skb_pull_data(skb, 34);
	if (is_udp((void *)(long)skb->data, (void *)(long)skb->data_end))
		hit(HIT_TC);
	return TC_ACT_UNSPEC;
}

SEC("tc")
int tc_drop(struct __sk_buff *skb)
{
	bpf_skb_pull_data(skb, 34);
	if (!is_udp((void *)(long)skb->data, (void *)(long)skb->data_end))
		return TC_ACT_UNSPEC;
	hit(HIT_TC_DROP);
	return TC_ACT_SHOT;
}

SEC("cgroup_skb/egress")
int cgroup_drop(struct __sk_buff *skb)
{
	hit(HIT_CGROUP);
	return 0;
}

SEC("cgroup_skb/egress")
int cgroup_count(struct __sk_buff *skb)
{
	hit(HIT_OTHER);
	return 1;
}

SEC("sockops")
int sock_ops_count(struct bpf_sock_ops *ctx)
{
	hit(HIT_SOCK_OPS);
	return 1;
}

SEC("tracepoint/syscalls/sys_enter_getpriority")
int tracepoint(void *ctx)
{
	traced(HIT_TRACEPOINT, ctx);
	return 0;
}

SEC("tracepoint/syscalls/sys_enter_getpriority")
int tracepoint_other(void *ctx)
{
	traced(HIT_OTHER, ctx);
	return 0;
}

/* Reads far beyond the record of any small tracepoint. */
SEC("tracepoint/syscalls/sys_enter_getpriority")
int tracepoint_far(__u64 *ctx)
{
	if (ctx[500])
		traced(HIT_TRACEPOINT, ctx);
	return 0;
}

SEC("raw_tp/sys_enter")
int raw_tracepoint(struct bpf_raw_tracepoint_args *ctx)
{
	if (ctx->args[1] == GETPRIORITY)
		traced_raw(HIT_RAW_TRACEPOINT, ctx);
	return 0;
}

SEC("raw_tp/sys_enter")
int raw_tracepoint_other(struct bpf_raw_tracepoint_args *ctx)
{
	if (ctx->args[1] == GETPRIORITY)
		traced_raw(HIT_OTHER, ctx);
	return 0;
}

#ifndef WITHOUT_TP_BTF
SEC("tp_btf/sys_enter")
int tp_btf(__u64 *ctx)
{
	if (ctx[1] == GETPRIORITY)
		traced_raw(HIT_TP_BTF, ctx);
	return 0;
}

SEC("tp_btf/sys_enter")
int tp_btf_other(__u64 *ctx)
{
	if (ctx[1] == GETPRIORITY)
		traced_raw(HIT_OTHER, ctx);
	return 0;
}

SEC("tp_btf/sys_exit")
int tp_btf_exit(__u64 *ctx)
{
	return 0;
}
#endif

SEC("uprobe")
int probe_entry(void *ctx)
{
	traced(HIT_UPROBE, ctx);
	return 0;
}

SEC("uretprobe")
int probe_return(void *ctx)
{
	traced(HIT_URETPROBE, ctx);
	return 0;
}

SEC("perf_event")
int sample(void *ctx)
{
	traced(HIT_SAMPLE, ctx);
	return 0;
}

SEC("perf_event")
int sample_other(void *ctx)
{
	traced(HIT_OTHER, ctx);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
