/* SPDX-License-Identifier: GPL-2.0-only */
/* What `bpfctl run` is tried with: events of one process's getppid(2). */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#ifndef VERSION
#define VERSION 1
#endif

struct called {
	__u32 pid;
	__u32 version;
	char comm[16];
};

struct place {
	__u32 pid;
	__u16 port;
	__u16 unused;
};

/* Calls that were seen. Written by on_enter, read by the tests. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} cli_calls SEC(".maps");

/* Calls by version; one value for each CPU. Written by on_enter. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 4);
	__type(key, __u32);
	__type(value, __u64);
} cli_versions SEC(".maps");

/* Written and read by the tests alone. */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16);
	__type(key, struct place);
	__type(value, __u64);
} cli_places SEC(".maps");

const volatile __u32 watched_pid;
const volatile __u64 watched_call = 110; /* getppid of x86_64 */
const struct called *kept __attribute__((unused));

SEC("tp_btf/sys_enter")
int on_enter(__u64 *ctx)
{
	__u32 pid = bpf_get_current_pid_tgid() >> 32, key = VERSION;
	struct called *event;
	__u64 *count;

	if (pid != watched_pid || ctx[1] != watched_call)
		return 0;
	count = bpf_map_lookup_elem(&cli_versions, &key);
	if (count)
		*count += 1;
	event = bpf_ringbuf_reserve(&cli_calls, sizeof(*event), 0);
	if (!event)
		return 0;
	event->pid = pid;
	event->version = VERSION;
	bpf_get_current_comm(event->comm, sizeof(event->comm));
	bpf_ringbuf_submit(event, 0);
	return 0;
}

#ifdef WITH_XDP
SEC("xdp")
int pass(struct xdp_md *ctx)
{
	return XDP_PASS;
}
#endif

#ifdef REFUSED
SEC("xdp")
int reads_beyond(struct xdp_md *ctx)
{
	char *data = (char *)(long)ctx->data;

	return data[100];
}
#endif

char LICENSE[] SEC("license") = "GPL";
