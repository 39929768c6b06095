/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs that load, one that the verifier refuses (-DREFUSED), one that nobody can load by
 * itself (-DALONE), and one that loads when it is asked for. -DMORE makes `walks` longer. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

SEC("socket")
int returns(struct __sk_buff *skb)
{
	return 0;
}

__attribute__((noinline)) static int sum(int limit)
{
	volatile char room[24] = { 0 };
	int i, result = room[3];

#pragma clang loop unroll(disable)
	for (i = 0; i < limit; i++)
		result += i * bpf_get_prandom_u32();
	return result;
}

SEC("socket")
int walks(struct __sk_buff *skb)
{
#ifdef MORE
	return sum(12);
#else
	return sum(8);
#endif
}

SEC("?socket")
int when_asked_for(struct __sk_buff *skb)
{
	return 1;
}

#ifdef REFUSED
SEC("socket")
int unchecked(struct __sk_buff *skb)
{
	char *data = (char *)(long)skb->mark;

	return *data; /* no pointer */
}
#endif

#ifdef ALONE
SEC("freplace/nothing")
int replaces(struct xdp_md *ctx)
{
	return XDP_PASS;
}
#endif

char LICENSE[] SEC("license") = "GPL";
