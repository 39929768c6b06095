/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs that show what user space has written into maps of each type. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "numbers.h"

#define STACK_DEPTH 32
#define CGRP_STORAGE 32 /* enum bpf_map_type of Linux 6.2, newer than some headers */

struct order {
	__u32 id;
	__u16 port;
	__u16 unused;
	char name[8];
};

const struct order *kept __attribute__((unused));

struct sock;

struct cgroup;

struct css_set {
	struct cgroup *dfl_cgrp;
} __attribute__((preserve_access_index));

struct task_struct {
	struct css_set *cgroups;
} __attribute__((preserve_access_index));

#define ARRAY_OF(NAME, TYPE, ENTRIES, VALUE)                                                   \
	struct {                                                                                   \
		__uint(type, TYPE);                                                                    \
		__uint(max_entries, ENTRIES);                                                          \
		__type(key, __u32);                                                                    \
		__type(value, VALUE);                                                                  \
	} NAME SEC(".maps")

#define STORAGE_OF(NAME, TYPE)                                                                 \
	struct {                                                                                   \
		__uint(type, TYPE);                                                                    \
		__uint(map_flags, BPF_F_NO_PREALLOC);                                                  \
		__type(key, int);                                                                      \
		__type(value, __u64);                                                                  \
	} NAME SEC(".maps")

/* Each is written by the tests and read by the program of its name. */
ARRAY_OF(mt_calls, BPF_MAP_TYPE_PROG_ARRAY, 4, __u32);
ARRAY_OF(mt_devs, BPF_MAP_TYPE_DEVMAP, 4, struct bpf_devmap_val);
ARRAY_OF(mt_dev_hash, BPF_MAP_TYPE_DEVMAP_HASH, 4, struct bpf_devmap_val);
ARRAY_OF(mt_cpus, BPF_MAP_TYPE_CPUMAP, 4, struct bpf_cpumap_val);
ARRAY_OF(mt_group, BPF_MAP_TYPE_REUSEPORT_SOCKARRAY, 2, __u64);
ARRAY_OF(mt_socks, BPF_MAP_TYPE_SOCKMAP, 4, __u64);
ARRAY_OF(mt_sock_hash, BPF_MAP_TYPE_SOCKHASH, 4, __u64);
ARRAY_OF(mt_xsks, BPF_MAP_TYPE_XSKMAP, 4, __u32);
ARRAY_OF(mt_cgroups, BPF_MAP_TYPE_CGROUP_ARRAY, 2, __u32);
ARRAY_OF(mt_counters, BPF_MAP_TYPE_PERF_EVENT_ARRAY, 64, __u32);
STORAGE_OF(mt_sk, BPF_MAP_TYPE_SK_STORAGE);
STORAGE_OF(mt_task, BPF_MAP_TYPE_TASK_STORAGE);
STORAGE_OF(mt_inode, BPF_MAP_TYPE_INODE_STORAGE);

#ifndef WITHOUT_CGRP
static void *(*const cgrp_storage_get)(void *map, struct cgroup *cgroup, void *value,
					__u64 flags) = (void *)210;

STORAGE_OF(mt_cgrp, CGRP_STORAGE);
#endif

struct {
	__uint(type, BPF_MAP_TYPE_CGROUP_STORAGE);
	__type(key, __u64);
	__type(value, __u64);
} mt_local SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_CGROUP_STORAGE);
	__type(key, struct bpf_cgroup_storage_key);
	__type(value, __u64);
} mt_local_cpu SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_QUEUE);
	__uint(max_entries, 4);
	__type(value, struct order);
} mt_queue SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_STACK);
	__uint(max_entries, 4);
	__type(value, __u64);
} mt_stack SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_BLOOM_FILTER);
	__uint(max_entries, 100);
	__uint(map_extra, 5);
	__type(value, __u64);
} mt_bloom SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_USER_RINGBUF);
	__uint(max_entries, 4096);
} mt_orders SEC(".maps");

/* Stacks of the kernel, by id. Written by on_call. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 64);
	__uint(key_size, 4);
	__uint(value_size, 8 * STACK_DEPTH);
} mt_stacks SEC(".maps");

/* The same of user space, as offsets into files. */
struct {
	__uint(type, BPF_MAP_TYPE_STACK_TRACE);
	__uint(max_entries, 64);
	__uint(map_flags, BPF_F_STACK_BUILD_ID);
	__uint(key_size, 4);
	__uint(value_size, sizeof(struct bpf_stack_build_id) * STACK_DEPTH);
} mt_files SEC(".maps");

struct inner {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} mt_inner SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} mt_outer SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_HASH_OF_MAPS);
	__uint(max_entries, 4);
	__type(key, __u32);
	__array(values, struct inner);
} mt_outer_hash SEC(".maps");

const volatile __u32 watched_pid;
const volatile __u64 watched_call;

SEC("xdp")
int show_setting(struct xdp_md *ctx)
{
	ran();
	show(setting() + 1000);
	return XDP_DROP;
}

SEC("xdp")
int call(struct xdp_md *ctx)
{
	bpf_tail_call(ctx, &mt_calls, 1);
	return XDP_PASS;
}

SEC("xdp")
int to_device(struct xdp_md *ctx)
{
	ran();
	return bpf_redirect_map(&mt_devs, setting(), XDP_DROP);
}

SEC("xdp")
int to_hashed(struct xdp_md *ctx)
{
	ran();
	return bpf_redirect_map(&mt_dev_hash, setting(), XDP_DROP);
}

/* Runs in a devmap's value. */
SEC("xdp/devmap")
int on_way_out(struct xdp_md *ctx)
{
	show(ctx->egress_ifindex);
	return XDP_PASS;
}

SEC("xdp")
int to_cpu(struct xdp_md *ctx)
{
	ran();
	return bpf_redirect_map(&mt_cpus, setting(), XDP_DROP);
}

/* Runs in a cpumap's value. */
SEC("xdp/cpumap")
int on_cpu(struct xdp_md *ctx)
{
	show(bpf_get_smp_processor_id() + 500);
	return XDP_DROP;
}

SEC("xdp")
int has_xsk(struct xdp_md *ctx)
{
	__u32 key = setting();

	show(bpf_map_lookup_elem(&mt_xsks, &key) ? 1 : 2);
	return XDP_PASS;
}

SEC("xdp")
int to_xsk(struct xdp_md *ctx)
{
	return bpf_redirect_map(&mt_xsks, setting(), XDP_PASS);
}

SEC("xdp")
int inner_value(struct xdp_md *ctx)
{
	__u32 outer = setting(), key = 7;
	__u64 *value;
	void *map;

	map = bpf_map_lookup_elem(&mt_outer, &outer);
	if (!map)
		map = bpf_map_lookup_elem(&mt_outer_hash, &outer);
	if (!map)
		return XDP_ABORTED;
	value = bpf_map_lookup_elem(map, &key);
	show(value ? *value : 0);
	return XDP_PASS;
}

SEC("xdp")
int take(struct xdp_md *ctx)
{
	struct order order = {};
	__u64 number = setting(), top = 0;

	if (bpf_map_pop_elem(&mt_queue, &order) == 0)
		show(order.port);
	else if (bpf_map_pop_elem(&mt_stack, &top) == 0)
		show(top);
	else
		show(bpf_map_peek_elem(&mt_bloom, &number) == 0 ? 1 : 2);
	bpf_map_push_elem(&mt_stack, &number, 0);
	return XDP_PASS;
}

static long taken(struct bpf_dynptr *record, __u64 *sum)
{
	struct order order;

	if (bpf_dynptr_read(&order, sizeof(order), record, 0, 0) == 0)
		*sum = *sum * 10 + order.id;
	return 0;
}

SEC("sk_reuseport")
int choose(struct sk_reuseport_md *ctx)
{
	__u32 key = setting();

	ran();
	return bpf_sk_select_reuseport(ctx, &mt_group, &key, 0) == 0 ? SK_PASS : SK_DROP;
}

SEC("sk_msg")
int refuse_even(struct sk_msg_md *ctx)
{
	ran();
	return ctx->size % 2 ? SK_PASS : SK_DROP;
}

SEC("cgroup_skb/egress")
int local(struct __sk_buff *skb)
{
	__u64 *value = bpf_get_local_storage(&mt_local, 0);
	__u64 *mine = bpf_get_local_storage(&mt_local_cpu, 0);

	show(*value);
	*mine += 1;
	return 1;
}

SEC("tp_btf/inet_sock_set_state")
int on_state(__u64 *ctx)
{
	__u64 *value;

	value = bpf_sk_storage_get(&mt_sk, (struct sock *)ctx[0], NULL, 0);
	if (value) {
		show(*value);
		*value += 1;
	}
	return 0;
}

SEC("tp_btf/sys_enter")
int on_call(__u64 *ctx)
{
	struct task_struct *task;
	__u64 sum = 0, *value;

	if (bpf_get_current_pid_tgid() >> 32 != watched_pid || ctx[1] != watched_call)
		return 0;
	ran();
	task = bpf_get_current_task_btf();
	switch (setting()) {
	case 1:
		value = bpf_task_storage_get(&mt_task, task, NULL, 0);
		if (value)
			show(*value);
		break;
	case 2:
		bpf_user_ringbuf_drain(&mt_orders, taken, &sum, 0);
		show(sum);
		break;
	case 3:
		show(bpf_current_task_under_cgroup(&mt_cgroups, 1) == 1 ? 1 : 2);
		break;
	case 4:
		bpf_get_stackid(ctx, &mt_stacks, 0);
		bpf_get_stackid(ctx, &mt_stacks, BPF_F_USER_STACK);
		bpf_get_stackid(ctx, &mt_files, BPF_F_USER_STACK);
		break;
#ifndef WITHOUT_CGRP
	case 5:
		value = cgrp_storage_get(&mt_cgrp, task->cgroups->dfl_cgrp, NULL, 0);
		if (value)
			show(*value);
		break;
#endif
	}
	return 0;
}

SEC("tp_btf/sys_enter")
int on_count(__u64 *ctx)
{
	struct bpf_perf_event_value value = {};

	if (bpf_get_current_pid_tgid() >> 32 != watched_pid || ctx[1] != watched_call)
		return 0;
	if (bpf_perf_event_read_value(&mt_counters, BPF_F_CURRENT_CPU, &value, sizeof(value)) == 0)
		show(value.counter);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
