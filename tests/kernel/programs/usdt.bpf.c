/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs on USDT probes, in the section of one and of many places: a kernel that lacks the
 * latter still loads the former. They keep what the last probe of one process said. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_tracing.h>

/* Only kernels without cookies are asked for it; it would need the architecture. */
#undef PT_REGS_IP
#define PT_REGS_IP(ctx) 0
struct pt_regs;
typedef _Bool bool;
#include <bpf/usdt.bpf.h>

enum said {
	SAID_RUNS,
	SAID_COUNT, /* of arguments */
	SAID_COOKIE,
	SAID_ARGUMENTS, /* from here on, as signed numbers */
	SAID_MAX = SAID_ARGUMENTS + 4,
};

/* By enum said. Written here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, SAID_MAX);
	__type(key, __u32);
	__type(value, __u64);
} said SEC(".maps");

/* Process that is counted; 0: every process. Written by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} only SEC(".maps");

static __always_inline void say(__u32 what, __u64 value)
{
	bpf_map_update_elem(&said, &what, &value, BPF_ANY);
}

static __always_inline int ours(void)
{
	__u32 zero = 0, *pid = bpf_map_lookup_elem(&only, &zero);

	return pid && (!*pid || *pid == bpf_get_current_pid_tgid() >> 32);
}

static __always_inline void count(void)
{
	__u32 runs = SAID_RUNS;
	__u64 *value = bpf_map_lookup_elem(&said, &runs);

	if (value)
		__sync_fetch_and_add(value, 1);
}

static __always_inline int listen(struct pt_regs *ctx)
{
	long value;
	int i;

	if (!ours())
		return 0;
	count();
	say(SAID_COUNT, bpf_usdt_arg_cnt(ctx));
	say(SAID_COOKIE, bpf_usdt_cookie(ctx));
	for (i = 0; i < SAID_MAX - SAID_ARGUMENTS; i++) {
		bpf_usdt_arg(ctx, i, &value);
		say(SAID_ARGUMENTS + i, value);
	}
	return 0;
}

#ifdef PLAIN
SEC("usdt")
#endif
#ifdef MULTI
SEC("uprobe.multi")
#endif
int program(struct pt_regs *ctx)
{
	return listen(ctx);
}

/* Asks for no argument, so it has no map of specs. */
#ifdef PLAIN
SEC("usdt")
#endif
#ifdef MULTI
SEC("uprobe.multi")
#endif
int other(struct pt_regs *ctx)
{
	if (!ours())
		return 0;
	count();
	say(SAID_COOKIE, bpf_get_attach_cookie(ctx));
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
