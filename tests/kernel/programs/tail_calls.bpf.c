/* SPDX-License-Identifier: GPL-2.0-only */
/* Two programs that call each other without end. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

int first(struct __sk_buff *skb);
int second(struct __sk_buff *skb);

/* Each program calls the other one's slot. Filled at load. */
struct {
	__uint(type, BPF_MAP_TYPE_PROG_ARRAY);
	__uint(max_entries, 2);
	__uint(key_size, sizeof(__u32));
	__array(values, int(void *));
} calls SEC(".maps") = {
	.values = { [0] = (void *)&first, [1] = (void *)&second },
};

/* Runs of both, and calls that the kernel did not make. Written here. */
__u64 runs, ended;

static __always_inline int call(struct __sk_buff *skb, __u32 slot)
{
	runs++;
	bpf_tail_call(skb, &calls, slot);
	ended++;
	return slot;
}

SEC("tc")
int first(struct __sk_buff *skb)
{
	return call(skb, 1);
}

SEC("tc")
int second(struct __sk_buff *skb)
{
	return call(skb, 0);
}

char LICENSE[] SEC("license") = "GPL";
