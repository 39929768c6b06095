/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs on functions of the kernel, each kind by its own define: a kernel that lacks one
 * still loads the others. They count the runs of one process. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

#define EPERM 1

enum count {
	COUNT_RUNS,
	COUNT_COOKIE, /* of the last run */
	COUNT_MAX,
};

/* By enum count. Written here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, COUNT_MAX);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

/* Process that is counted. Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} only SEC(".maps");

static __always_inline int ours(void)
{
	__u32 zero = 0, *pid = bpf_map_lookup_elem(&only, &zero);

	return pid && *pid == bpf_get_current_pid_tgid() >> 32;
}

static __always_inline void count(__u64 cookie)
{
	__u32 runs = COUNT_RUNS, last = COUNT_COOKIE;
	__u64 *value = bpf_map_lookup_elem(&counts, &runs);

	if (value)
		__sync_fetch_and_add(value, 1);
	bpf_map_update_elem(&counts, &last, &cookie, BPF_ANY);
}

#ifdef KPROBE
SEC("kprobe")
int program(void *ctx)
{
	if (ours())
		count(bpf_get_attach_cookie(ctx));
	return 0;
}

SEC("kprobe")
int other(void *ctx)
{
	return 0;
}
#endif

#ifdef KPROBE_MULTI
SEC("kprobe.multi")
int program(void *ctx)
{
	if (ours())
		count(bpf_get_attach_cookie(ctx));
	return 0;
}
#endif

#ifdef FENTRY
SEC("fentry/notify_change")
int program(void *ctx)
{
	if (ours())
		count(bpf_get_attach_cookie(ctx));
	return 0;
}

SEC("fentry/vfs_truncate")
int other(void *ctx)
{
	return 0;
}
#endif

#ifdef FEXIT
SEC("fexit/notify_change")
int program(void *ctx)
{
	if (ours())
		count(bpf_get_attach_cookie(ctx));
	return 0;
}
#endif

#ifdef FMOD_RET
SEC("fmod_ret/security_task_setnice")
int program(void *ctx)
{
	if (!ours())
		return 0;
	count(bpf_get_attach_cookie(ctx));
	return -EPERM;
}
#endif

#ifdef LSM
SEC("lsm/task_setnice")
int program(void *ctx)
{
	if (!ours())
		return 0;
	count(bpf_get_attach_cookie(ctx));
	return -EPERM;
}
#endif

#ifdef KPROBE_SESSION
SEC("kprobe.session")
int program(void *ctx)
{
	if (ours())
		count(0);
	return 0;
}
#endif

#ifdef FSESSION
SEC("fsession/notify_change")
int program(void *ctx)
{
	if (ours())
		count(0);
	return 0;
}
#endif

/* Programs that may sleep, where the kernel lets them. */
#ifdef FENTRY_SLEEPY
SEC("fentry.s")
int program(void *ctx)
{
	if (ours())
		count(bpf_get_attach_cookie(ctx));
	return 0;
}
#endif

#ifdef LSM_SLEEPY
SEC("lsm.s/path_chmod")
int program(void *ctx)
{
	if (!ours())
		return 0;
	count(bpf_get_attach_cookie(ctx));
	return -EPERM;
}
#endif

char LICENSE[] SEC("license") = "GPL";
