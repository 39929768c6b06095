/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The two ends of a TCP socket, and whom it belongs to.
 */
#ifndef BPFD_SOCKET_H
#define BPFD_SOCKET_H

#include <bpfd/process.h>
#include <linux/in6.h>
#include <bpf/bpf_endian.h>

/* Of include/linux/socket.h. */
enum address_family {
	AF_UNSPEC = 0,
	AF_INET = 2,
	AF_INET6 = 10,
};

/* Of include/net/tcp_states.h. */
enum tcp_state {
	ESTABLISHED = 1,
	SYN_SENT,
	SYN_RECV,
	FIN_WAIT1,
	FIN_WAIT2,
	TIME_WAIT,
	CLOSE,
	CLOSE_WAIT,
	LAST_ACK,
	LISTEN,
	CLOSING,
	NEW_SYN_RECV,
};

struct sock_common___bpfd {
	__be32 skc_daddr;
	__be32 skc_rcv_saddr;
	__be16 skc_dport;
	__u16 skc_num;
	unsigned short skc_family;
	volatile unsigned char skc_state;
	struct {
		struct net___bpfd *net;
	} skc_net;
	struct in6_addr skc_v6_daddr;
	struct in6_addr skc_v6_rcv_saddr;
} OF_KERNEL;

struct kernfs_node___bpfd {
	__u64 id;
} OF_KERNEL;

struct cgroup___bpfd {
	struct kernfs_node___bpfd *kn;
} OF_KERNEL;

struct sock_cgroup_data___bpfd {
	struct cgroup___bpfd *cgroup;
} OF_KERNEL;

struct file___bpfd {
	unsigned int f_flags;
} OF_KERNEL;

struct socket___bpfd {
	struct file___bpfd *file;
} OF_KERNEL;

struct sock___bpfd {
	struct sock_common___bpfd __sk_common;
	struct sock_cgroup_data___bpfd sk_cgrp_data;
	struct socket___bpfd *sk_socket;
	int sk_err;
	__u16 sk_protocol;
} OF_KERNEL;

struct inet_sock___bpfd {
	__be16 inet_sport;
} OF_KERNEL;

/* Also of a socket that was closed just now, which has given its port back
 * (skc_num) but still knows it. */
static __always_inline __be16 local_port_of(struct sock___bpfd *sk)
{
	struct inet_sock___bpfd *inet = (void *)sk;

	return BPF_CORE_READ(inet, inet_sport);
}

/* Addresses of IPv4 become IPv4-mapped ones (::ffff:a.b.c.d). */
static __always_inline void map_v4(struct in6_addr *address, __be32 v4)
{
	address->in6_u.u6_addr32[0] = 0;
	address->in6_u.u6_addr32[1] = 0;
	address->in6_u.u6_addr32[2] = bpf_htonl(0xffff);
	address->in6_u.u6_addr32[3] = v4;
}

/* Works for struct request_sock, too, which begins as a socket does. */
static __always_inline void read_addresses(struct in6_addr *local,
					   struct in6_addr *remote,
					   struct sock___bpfd *sk)
{
	if (BPF_CORE_READ(sk, __sk_common.skc_family) == AF_INET6) {
		BPF_CORE_READ_INTO(local, sk, __sk_common.skc_v6_rcv_saddr);
		BPF_CORE_READ_INTO(remote, sk, __sk_common.skc_v6_daddr);
	} else {
		map_v4(local, BPF_CORE_READ(sk, __sk_common.skc_rcv_saddr));
		map_v4(remote, BPF_CORE_READ(sk, __sk_common.skc_daddr));
	}
}

/* 0: a kernel without network namespaces. */
static __always_inline __u32 netns_of(struct sock___bpfd *sk)
{
	if (!bpf_core_field_exists(sk->__sk_common.skc_net.net))
		return 0;
	return BPF_CORE_READ(sk, __sk_common.skc_net.net, ns.inum);
}

static __always_inline __u64 cgroup_of(struct sock___bpfd *sk)
{
	if (!bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		return 0;
	return BPF_CORE_READ(sk, sk_cgrp_data.cgroup, kn, id);
}

#endif
