/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs that the kernel fixes to a function, hook or tracepoint when it loads them; each
 * is written for one, or for none (BARE), and means as much at others. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

struct seq_file;

struct bpf_iter_meta {
	struct seq_file *seq;
} __attribute__((preserve_access_index));

struct bpf_iter__task {
	struct bpf_iter_meta *meta;
} __attribute__((preserve_access_index));

/* Process that is counted. Set before the load; alone in its section. */
const volatile __u32 watched_pid SEC(".rodata.watched");

/* Runs in that process. Written here. */
__u64 runs;

#ifdef BARE
#define OF(name)
#else
#define OF(name) "/" name
#endif

static __always_inline void count(void)
{
	if (bpf_get_current_pid_tgid() >> 32 == watched_pid)
		__sync_fetch_and_add(&runs, 1);
}

SEC("?tp_btf" OF("sched_process_exit"))
int aimed_event(void *ctx)
{
	count();
	return 0;
}

SEC("?iter" OF("task"))
int aimed_entries(struct bpf_iter__task *ctx)
{
	char line[] = { 'e', 'n', 't', 'r', 'y', '\n' };

	bpf_seq_write(ctx->meta->seq, line, sizeof(line));
	return 0;
}

SEC("?fentry" OF("bpf_map_area_alloc"))
int aimed_entry(void *ctx)
{
	count();
	return 0;
}

SEC("?lsm" OF("file_open"))
int aimed_hook(void *ctx)
{
	count();
	return 0;
}

SEC("?xdp")
int aimed_packet(struct xdp_md *ctx)
{
	return XDP_PASS;
}

char LICENSE[] SEC("license") = "GPL";
