/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * One event for each TCP connection that ends: who talked to whom, for how
 * long, how much, and which process.
 *
 * A socket is told by its address in the kernel: remembered when the
 * connection begins, reported and forgotten when its state becomes CLOSE.
 *
 * The process is the one that runs when the socket is moved by a system call:
 * connect() for the side that opens, close() or shutdown() for the side that
 * accepted. The other changes of state happen while a packet is received, in
 * whatever process is interrupted, and say nothing; so a connection that was
 * accepted and that the peer reset has no process.
 */
#include "kernel.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>
#include <bpfd/events.h>
#include <bpfd/histogram.h>

char LICENSE[] SEC("license") = "GPL";

enum origin {
	/* It began before the program was attached, or so many connections are
	 * open that it was forgotten: no start, and a process only if it closed
	 * this side. */
	UNKNOWN,
	/* By connect() of this side. */
	OPENED,
	/* By listen() of this side and connect() of the other. */
	ACCEPTED,
};

/* A connection that has ended. */
struct connection {
	/* bpf_ktime_get_ns() at the end: ns since boot without time asleep. */
	__u64 end_ns SHOWN_AS("ktime");
	/* To CLOSE from the first SYN, on the side that opened, or from the end
	 * of the handshake, on the side that accepted; 0: start unknown. */
	__u64 duration_ns SHOWN_AS("ns");
	/* Payload, each byte once however often it was sent. */
	__u64 bytes_sent;
	/* Payload, in order. */
	__u64 bytes_received;
	/* Of the socket; 0: the kernel does not say. */
	__u64 cgroup_id;
	/* Addresses of IPv4 are IPv4-mapped (::ffff:a.b.c.d). */
	struct in6_addr local;
	struct in6_addr remote;
	__be16 local_port;
	__be16 remote_port;
	/* Inode of the network namespace, as in /proc/PID/ns/net. */
	__u32 netns;
	/* Process (not thread); 0: not known. */
	__u32 pid;
	enum origin origin;
	enum address_family family;
	/* Name of the thread that moved the socket. */
	char comm[16];
	/* false: it was tried, and never came to be. */
	bool established;
	/* The kernel counts bytes; else both numbers are 0. */
	bool has_bytes;
};

/* Only this network namespace, by inode; 0: all. */
const volatile __u32 netns = 0;
/* Only connections of this process; 0: all. */
const volatile __u32 pid = 0;
/* Only sockets of this cgroup (not of those below it), by id; 0: all. */
const volatile __u64 cgroup = 0;
/* Also report attempts that failed. */
const volatile bool failed = false;

/* What is known of a connection that has not ended. */
struct open_connection {
	__u64 start_ns;
	enum origin origin;
	__u32 pid;
	bool established;
	char comm[16];
};

/*
 * Connections that have not ended. Key: address of the struct sock; value:
 * what its end needs. Read and written by the program alone. When it is full
 * the oldest is forgotten, and its event will lack the start. 16,384 are a
 * busy server's, and 2 MB.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, struct open_connection);
} connections SEC(".maps");

/* Connections that have ended. Written by the program, read by user space.
 * 1 MiB holds 8,738 events. */
RING(ended, struct connection, 1 << 20);

/* What connections came to that have ended. */
struct total {
	__u64 connections;
	/* Payload. */
	__u64 bytes_sent;
	__u64 bytes_received;
};

KEY_OF_ENUM(origin);

/* Totals by who opened, whether or not the event found room. Key: enum origin;
 * value: of one CPU. Written by the program, read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, ACCEPTED + 1);
	__type(key, origin_key);
	__type(value, struct total);
} totals SEC(".maps");

/* Microseconds that connections lasted, those whose start is known. Key: 0;
 * value: of one CPU. Written by the program, read by user space. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct histogram);
} durations SEC(".maps");

static __always_inline __u32 netns_of(struct sock *sk)
{
	struct net *net;

	if (!bpf_core_field_exists(sk->__sk_common.skc_net.net))
		return 0;
	net = (struct net *)READ_WORD(sk->__sk_common.skc_net.net);
	return BPF_CORE_READ(net, ns.inum);
}

static __always_inline __u64 cgroup_of(struct sock *sk)
{
	struct kernfs_node *node;
	struct cgroup *owner;

	if (!bpf_core_field_exists(sk->sk_cgrp_data.cgroup))
		return 0;
	owner = (struct cgroup *)READ_WORD(sk->sk_cgrp_data.cgroup);
	node = (struct kernfs_node *)READ_WORD(owner->kn);
	return BPF_CORE_READ(node, id);
}

/*
 * bytes_received and bytes_acked count sequence numbers (RFC 4898), and a FIN
 * takes one. SOCK_DONE: tcp_fin() has seen the peer's. bytes_sent counts the
 * payload of every segment (Linux 4.19).
 */
static __always_inline void read_bytes(struct connection *connection,
				       struct sock *sk)
{
	struct tcp_sock *tcp = (struct tcp_sock *)sk;
	__u64 flags;

	if (!bpf_core_field_exists(tcp->bytes_received) ||
	    !bpf_core_field_exists(tcp->bytes_acked))
		return;
	connection->has_bytes = true;
	connection->bytes_received = BPF_CORE_READ(tcp, bytes_received);
	flags = READ_WORD(sk->__sk_common.skc_flags);
	if (connection->bytes_received &&
	    flags & 1 << bpf_core_enum_value(enum sock_flags, SOCK_DONE))
		connection->bytes_received--;

	if (bpf_core_field_exists(tcp->bytes_sent) &&
	    bpf_core_field_exists(tcp->bytes_retrans))
		connection->bytes_sent = BPF_CORE_READ(tcp, bytes_sent) -
					 BPF_CORE_READ(tcp, bytes_retrans);
	else
		connection->bytes_sent = BPF_CORE_READ(tcp, bytes_acked);
}

static __always_inline void name_process(struct open_connection *known)
{
	known->pid = bpf_get_current_pid_tgid() >> 32;
	bpf_get_current_comm(known->comm, sizeof(known->comm));
}

/*
 * Whether this change of state is the work of a system call on the socket, so
 * that the process that runs is the one that holds it. close() with unread
 * data goes to CLOSE at once, as a reset by the peer does; but close() has shut
 * both directions before.
 */
static __always_inline bool is_by_process(struct sock *sk, int from, int to)
{
	if (to == TCP_SYN_SENT || to == TCP_LAST_ACK)
		return true;
	if (to == TCP_FIN_WAIT1)
		return from != TCP_SYN_RECV;
	return to == TCP_CLOSE &&
	       (from == TCP_ESTABLISHED || from == TCP_CLOSE_WAIT) &&
	       BPF_CORE_READ(sk, sk_shutdown) == SHUTDOWN_MASK;
}

static __always_inline bool is_wanted(struct sock *sk)
{
	if (netns && netns_of(sk) != netns)
		return false;
	return !cgroup || cgroup_of(sk) == cgroup;
}

static __always_inline void count(const struct open_connection *known,
				  const struct connection *ended)
{
	__u32 origin = known->origin, zero = 0;
	struct histogram *lasted;
	struct total *total;

	total = bpf_map_lookup_elem(&totals, &origin);
	if (total) {
		total->connections++;
		total->bytes_sent += ended->bytes_sent;
		total->bytes_received += ended->bytes_received;
	}
	lasted = bpf_map_lookup_elem(&durations, &zero);
	if (lasted && known->start_ns)
		histogram_count(lasted, ended->duration_ns / 1000, 0);
}

static __always_inline void
report(struct trace_event_raw_inet_sock_set_state *ctx, struct sock *sk,
       struct open_connection *known)
{
	struct connection *connection, sums = {};

	if (pid && known->pid != pid)
		return;
	if (!known->established && !failed)
		return;
	sums.end_ns = bpf_ktime_get_ns();
	if (known->start_ns)
		sums.duration_ns = sums.end_ns - known->start_ns;
	read_bytes(&sums, sk);
	count(known, &sums);
	connection = ring_reserve(ended, struct connection);
	if (!connection)
		return;
	*connection = sums;
	connection->cgroup_id = cgroup_of(sk);
	/* Of IPv4 too: the tracepoint has the IPv4-mapped addresses there. */
	bpf_core_read(&connection->local, sizeof(connection->local),
		      &ctx->saddr_v6);
	bpf_core_read(&connection->remote, sizeof(connection->remote),
		      &ctx->daddr_v6);
	connection->local_port = bpf_htons(ctx->sport);
	connection->remote_port = bpf_htons(ctx->dport);
	connection->netns = netns_of(sk);
	connection->pid = known->pid;
	connection->origin = known->origin;
	connection->family = ctx->family;
	connection->established = known->established;
	__builtin_memcpy(connection->comm, known->comm, sizeof(known->comm));
	ring_submit(ctx, ended, connection, 0);
}

/* 0 would hide the event from perf and whoever else looks at the tracepoint
 * (trace_call_bpf of kernel/trace/bpf_trace.c). */
#define SEEN 1

SEC("tp/sock/inet_sock_set_state")
int tcplife(struct trace_event_raw_inet_sock_set_state *ctx)
{
	struct open_connection *remembered, known = {};
	struct sock *sk = (struct sock *)ctx->skaddr;
	int from = ctx->oldstate, to = ctx->newstate;
	__u64 key = (__u64)sk;

	if (ctx->protocol != IPPROTO_TCP || to == TCP_LISTEN ||
	    (from == TCP_LISTEN && to == TCP_CLOSE) || !is_wanted(sk))
		return SEEN;

	/* A new connection; what an old one at that address left is void. */
	if (to == TCP_SYN_SENT || (to == TCP_SYN_RECV && from == TCP_LISTEN)) {
		known.start_ns = bpf_ktime_get_ns();
		known.origin = to == TCP_SYN_SENT ? OPENED : ACCEPTED;
	} else {
		remembered = bpf_map_lookup_elem(&connections, &key);
		if (remembered)
			known = *remembered;
		else
			known.established = from != TCP_SYN_SENT &&
					    from != TCP_SYN_RECV &&
					    from != TCP_CLOSE;
	}
	if (to == TCP_ESTABLISHED)
		known.established = true;
	if (!known.pid && is_by_process(sk, from, to))
		name_process(&known);

	if (to == TCP_CLOSE) {
		report(ctx, sk, &known);
		bpf_map_delete_elem(&connections, &key);
	} else {
		bpf_map_update_elem(&connections, &key, &known, BPF_ANY);
	}
	return SEEN;
}
