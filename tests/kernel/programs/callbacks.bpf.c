/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs that the kernel goes on with somewhere else, each by its own define: a workqueue
 * (kernel 6.10; SET_WORK where the verifier itself adds the last argument, kernel 7.0), and an
 * exception (6.7). */
#include <linux/bpf.h>
#include <linux/pkt_cls.h>
#include <bpf/bpf_helpers.h>

/* Runs of callbacks, and lines that must not be reached. Written here. */
__u64 runs, beyond;

#ifdef SET_WORK
#define WORK
#endif

#ifdef WORK
struct bpf_wq {
	__u64 opaque[2];
} __attribute__((aligned(8)));

struct job {
	struct bpf_wq work;
};

/* One job. Written here. */
struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct job);
} jobs SEC(".maps");

extern int bpf_wq_init(struct bpf_wq *wq, void *p__map, unsigned int flags) __ksym;
extern int bpf_wq_start(struct bpf_wq *wq, unsigned int flags) __ksym;
#ifdef SET_WORK
extern int bpf_wq_set_callback(struct bpf_wq *wq,
			       int (*callback_fn)(void *map, int *key, void *value),
			       unsigned int flags) __ksym;
#define set_callback(work, function) bpf_wq_set_callback(work, function, 0)
#else
extern int bpf_wq_set_callback_impl(struct bpf_wq *wq,
				    int (*callback_fn)(void *map, int *key, void *value),
				    unsigned int flags, void *aux__ign) __ksym;
#define set_callback(work, function) bpf_wq_set_callback_impl(work, function, 0, NULL)
#endif

static int late(void *map, int *key, void *value)
{
	__sync_fetch_and_add(&runs, 1);
	return 0;
}

SEC("tc")
int program(struct __sk_buff *skb)
{
	__u32 key = 0;
	struct job *job = bpf_map_lookup_elem(&jobs, &key);

	if (!job || bpf_wq_init(&job->work, &jobs, 0))
		return 1;
	if (set_callback(&job->work, late))
		return 2;
	return bpf_wq_start(&job->work, 0) ? 3 : 0;
}
#endif

#ifdef THROW
extern void bpf_throw(__u64 cookie) __ksym;

static __attribute__((noinline)) int deep(struct __sk_buff *skb)
{
	if (skb->len > 20)
		bpf_throw(77);
	beyond++;
	return skb->len;
}

SEC("tc")
int program(struct __sk_buff *skb)
{
	deep(skb);
	beyond++;
	return 5;
}
#endif

char LICENSE[] SEC("license") = "GPL";
