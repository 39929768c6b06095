/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs at many places of a binary, each kind by its own define: a kernel that lacks one
 * still loads the others. They count the runs of one process, by cookie. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Runs by cookie, up to 15. Written here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 16);
	__type(key, __u32);
	__type(value, __u64);
} runs SEC(".maps");

/* Process that is counted; 0: every process. Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} only SEC(".maps");

static __always_inline int count(void *ctx, __u32 more)
{
	__u32 zero = 0, *pid = bpf_map_lookup_elem(&only, &zero);
	__u32 key = (bpf_get_attach_cookie(ctx) + more) & 15;
	__u64 *value;

	if (!pid || (*pid && *pid != bpf_get_current_pid_tgid() >> 32))
		return 0;
	value = bpf_map_lookup_elem(&runs, &key);
	if (value)
		__sync_fetch_and_add(value, 1);
	return 0;
}

#ifdef PLAIN
SEC("uprobe")
#endif
#ifdef MULTI
SEC("uprobe.multi")
#endif
#ifdef SESSION
SEC("uprobe.session")
#endif
int program(void *ctx)
{
	return count(ctx, 0);
}

/* Counts where 8 is added to the cookie. */
#ifdef PLAIN
SEC("uprobe")
#endif
#ifdef MULTI
SEC("uprobe.multi")
#endif
#ifdef SESSION
SEC("uprobe.session")
#endif
int other(void *ctx)
{
	return count(ctx, 8);
}

char LICENSE[] SEC("license") = "GPL";
