/* SPDX-License-Identifier: GPL-2.0-only */
/* Programs of cgroups, one for each attach type that kernel 6.1 has. */
#include <linux/bpf.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include "numbers.h"

/* linux/in.h and linux/stat.h have what the programs decide by. */
#define IPPROTO_IP 0
#define IP_TOS 1
#define MEMORY_DEVICES 1
#define DEV_ZERO 5

SEC("cgroup/sock_create")
int sock_create(struct bpf_sock *ctx)
{
	ran();
	return 0;
}

SEC("cgroup/sock_create")
int sock_create_count(struct bpf_sock *ctx)
{
	ran();
	return 1;
}

SEC("cgroup/sock_release")
int sock_release(struct bpf_sock *ctx)
{
	ran();
	return 1;
}

/* The port of the setting is forbidden. */
SEC("cgroup/post_bind4")
int post_bind4(struct bpf_sock *ctx)
{
	ran();
	return ctx->src_port != setting();
}

SEC("cgroup/post_bind6")
int post_bind6(struct bpf_sock *ctx)
{
	ran();
	return ctx->src_port != setting();
}

/* Puts the port of the setting into the address that the socket's owner gave or is given. */
#define ANOTHER_PORT(call)                                    \
	SEC("cgroup/" #call)                                  \
	int call(struct bpf_sock_addr *ctx)                   \
	{                                                     \
		ran();                                        \
		ctx->user_port = bpf_htons((__u16)setting()); \
		return 1;                                     \
	}

ANOTHER_PORT(bind4)
ANOTHER_PORT(bind6)
ANOTHER_PORT(connect4)
ANOTHER_PORT(connect6)
ANOTHER_PORT(sendmsg4)
ANOTHER_PORT(sendmsg6)
ANOTHER_PORT(recvmsg4)
ANOTHER_PORT(recvmsg6)
ANOTHER_PORT(getpeername4)
ANOTHER_PORT(getpeername6)
ANOTHER_PORT(getsockname4)
ANOTHER_PORT(getsockname6)

SEC("cgroup/connect4")
int connect4_never(struct bpf_sock_addr *ctx)
{
	ran();
	return 0;
}

/* The type of service becomes the setting. */
static __always_inline int another_tos(struct bpf_sockopt *ctx)
{
	__u8 *value = ctx->optval;

	if (ctx->level != IPPROTO_IP || ctx->optname != IP_TOS)
		return 0;
	if (value + 1 > (__u8 *)ctx->optval_end)
		return 0;
	*value = setting();
	ran();
	return 1;
}

SEC("cgroup/getsockopt")
int getsockopt(struct bpf_sockopt *ctx)
{
	if (another_tos(ctx))
		ctx->retval = 0;
	return 1;
}

SEC("cgroup/setsockopt")
int setsockopt(struct bpf_sockopt *ctx)
{
	another_tos(ctx);
	return 1;
}

/* No write, and of kernel.ostype no read. */
SEC("cgroup/sysctl")
int sysctl(struct bpf_sysctl *ctx)
{
	char name[16] = {};

	ran();
	if (ctx->write)
		return 0;
	if (bpf_sysctl_get_name(ctx, name, sizeof(name), 0) < 0)
		return 1;
	return name[7] != 'o' || name[8] != 's' || name[9] != 't' ||
	       name[10] != 'y';
}

/* Every device but /dev/zero. */
SEC("cgroup/dev")
int device(struct bpf_cgroup_dev_ctx *ctx)
{
	ran();
	return ctx->major != MEMORY_DEVICES || ctx->minor != DEV_ZERO;
}

char LICENSE[] SEC("license") = "GPL";
