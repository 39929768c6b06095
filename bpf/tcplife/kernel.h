/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What the program reads of the kernel: names and nothing else. Where a field
 * is in the target's kernel, and whether it is there at all, is found when the
 * object is loaded (CO-RE), so that one object serves all kernels, and a field
 * that a kernel lacks is no error of compilation.
 */
#ifndef TCPLIFE_KERNEL_H
#define TCPLIFE_KERNEL_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <stdbool.h>

/* Of the kernel's include/net/tcp_states.h. */
enum {
	TCP_ESTABLISHED = 1,
	TCP_SYN_SENT,
	TCP_SYN_RECV,
	TCP_FIN_WAIT1,
	TCP_FIN_WAIT2,
	TCP_TIME_WAIT,
	TCP_CLOSE,
	TCP_CLOSE_WAIT,
	TCP_LAST_ACK,
	TCP_LISTEN,
};

/* Of include/linux/socket.h. */
enum address_family {
	AF_INET = 2,
	AF_INET6 = 10,
};

/* Of include/net/sock.h: both directions are shut. */
#define SHUTDOWN_MASK 3

/* Accesses become CO-RE relocations: places by name, fixed at load. */
#define RELOCATED __attribute__((preserve_access_index))

/* The record of tracepoint sock/inet_sock_set_state. */
struct trace_event_raw_inet_sock_set_state {
	const void *skaddr;
	int oldstate;
	int newstate;
	__u16 sport;
	__u16 dport;
	__u16 family;
	__u16 protocol;
	__u8 saddr_v6[16];
	__u8 daddr_v6[16];
} RELOCATED;

struct ns_common {
	unsigned int inum;
} RELOCATED;

struct net {
	struct ns_common ns;
} RELOCATED;

struct kernfs_node {
	__u64 id;
} RELOCATED;

struct cgroup {
	struct kernfs_node *kn;
} RELOCATED;

struct sock_cgroup_data {
	struct cgroup *cgroup;
} RELOCATED;

struct sock_common {
	struct {
		struct net *net;
	} skc_net;
	unsigned long skc_flags;
} RELOCATED;

struct sock {
	struct sock_common __sk_common;
	__u8 sk_shutdown;
	struct sock_cgroup_data sk_cgrp_data;
} RELOCATED;

struct tcp_sock {
	__u64 bytes_received;
	__u64 bytes_acked;
	__u64 bytes_sent;
	__u64 bytes_retrans;
} RELOCATED;

enum sock_flags {
	SOCK_DONE = 1,
};

#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

/*
 * A kernel pointer or a kernel long: as wide as on the target, which BPF code
 * does not know otherwise.
 */
#define READ_WORD(FIELD)                                     \
	read_word(__builtin_preserve_access_index(&(FIELD)), \
		  bpf_core_field_size(FIELD))

static __always_inline __u64 read_word(const void *address, __u32 bytes)
{
	__u32 narrow = 0;
	__u64 wide = 0;

	if (bytes == sizeof(narrow)) {
		bpf_probe_read_kernel(&narrow, sizeof(narrow), address);
		return narrow;
	}
	bpf_probe_read_kernel(&wide, sizeof(wide), address);
	return wide;
}

#endif
