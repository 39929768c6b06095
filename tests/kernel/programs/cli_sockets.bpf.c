/* SPDX-License-Identifier: GPL-2.0-only */
/* Sockets of cgroups, sockmaps and network namespaces for `bpfctl`, one kind by its define. */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* Set when the object is loaded. */
const volatile __u16 port;

#ifdef CONNECT4
SEC("cgroup/connect4")
int another_port(struct bpf_sock_addr *ctx)
{
	ctx->user_port = bpf_htons(port);
	return 1;
}
#endif

#ifdef SK_MSG
/* Written by the test. */
struct {
	__uint(type, BPF_MAP_TYPE_SOCKMAP);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u32);
} cli_sockets SEC(".maps");

SEC("sk_msg")
int forbid(struct sk_msg_md *msg)
{
	return msg->size == port ? SK_DROP : SK_PASS;
}

SEC("sk_msg")
int allow(struct sk_msg_md *msg)
{
	return SK_PASS;
}
#endif

#ifdef SK_LOOKUP
SEC("sk_lookup")
int closed(struct bpf_sk_lookup *ctx)
{
	return ctx->local_port == port ? SK_DROP : SK_PASS;
}
#endif

char LICENSE[] SEC("license") = "GPL";
