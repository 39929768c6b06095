// SPDX-License-Identifier: GPL-2.0-only
/*
 * One event for each TCP segment that is sent again: by which rule, in which
 * state, of which connection.
 *
 * Segments that are sent again are seen at tracepoint tcp_retransmit_skb, tail
 * loss probes (RFC 8985, 7) among them as far as they repeat data; a SYN-ACK at
 * tcp_retransmit_synack, as no socket exists for it yet.
 */
#include <bpfd/process.h>
#include <bpf/bpf_endian.h>
#include <bpfd/events.h>
#include <bpfd/socket.h>

char LICENSE[] SEC("license") = "GPL";

enum rule {
	/* The retransmission timer ran out. */
	TIMEOUT,
	/* Acknowledgements say that it was lost. */
	RECOVERY,
	/* To find out whether the end of what was sent arrived. */
	TAIL_LOSS_PROBE,
	/* The answer to a SYN. */
	SYN_ACK,
	/* Anything else, for instance a fast open that failed. */
	OTHER,
};

/* Of include/net/inet_connection_sock.h. */
#define ICSK_TIME_LOSS_PROBE 5
/* enum tcp_ca_state of include/uapi/linux/tcp.h. */
#define TCP_CA_Recovery 3
#define TCP_CA_Loss 4

struct inet_connection_sock___bpfd {
	__u8 icsk_ca_state : 5;
	__u8 icsk_pending;
	__u8 icsk_retransmits;
} OF_KERNEL;

struct sk_buff___bpfd {
	char cb[48];
} OF_KERNEL;

struct tcp_skb_cb___bpfd {
	__u32 seq;
	__u32 end_seq;
} OF_KERNEL;

struct retransmission {
	/* bpf_ktime_get_ns() */
	__u64 time_ns SHOWN_AS("ktime");
	__u64 cgroup_id;
	struct in6_addr local;
	struct in6_addr remote;
	__be16 local_port;
	__be16 remote_port;
	__u32 netns;
	enum rule rule;
	enum tcp_state state;
	enum address_family family;
	/* First sequence number; 0: not known. */
	__u32 sequence;
	/* Sequence numbers, so that SYN and FIN count as one byte each. */
	__u32 bytes;
	/* Timeouts in a row so far. */
	__u32 timeouts;
};

/*
 * Segments that were sent again. Written by the programs, read by user space.
 * 1 MiB holds 10,922 events. They have no process: a timer or a packet sends
 * them, in whatever process is interrupted.
 */
RING(segments, struct retransmission, 1 << 20);

static __always_inline bool is_wanted_socket(struct sock___bpfd *sk)
{
	if (netns && netns_of(sk) != netns)
		return false;
	return !cgroup || cgroup_of(sk) == cgroup;
}

static __always_inline enum rule rule_of(struct sock___bpfd *sk)
{
	struct inet_connection_sock___bpfd *connection = (void *)sk;
	__u32 state;

	/* The retransmission timer clears it before it sends, the probe's timer
	 * afterwards (tcp_write_timer_handler). */
	if (BPF_CORE_READ(connection, icsk_pending) == ICSK_TIME_LOSS_PROBE)
		return TAIL_LOSS_PROBE;
	state = BPF_CORE_READ_BITFIELD_PROBED(connection, icsk_ca_state);
	if (state == TCP_CA_Recovery)
		return RECOVERY;
	if (state == TCP_CA_Loss || BPF_CORE_READ(connection, icsk_retransmits))
		return TIMEOUT;
	/* Of a SYN no congestion is taken note. */
	if (BPF_CORE_READ(sk, __sk_common.skc_state) == SYN_SENT)
		return TIMEOUT;
	return OTHER;
}

static __always_inline struct retransmission *
event_of(struct sock___bpfd *sk, struct sock___bpfd *owner)
{
	struct retransmission *event;

	if (!is_wanted_socket(owner))
		return NULL;
	event = ring_reserve(segments, struct retransmission);
	if (!event)
		return NULL;
	__builtin_memset(event, 0, sizeof(*event));
	event->time_ns = bpf_ktime_get_ns();
	event->cgroup_id = cgroup_of(owner);
	read_addresses(&event->local, &event->remote, sk);
	event->local_port = bpf_htons(BPF_CORE_READ(sk, __sk_common.skc_num));
	event->remote_port = BPF_CORE_READ(sk, __sk_common.skc_dport);
	event->netns = netns_of(owner);
	event->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	return event;
}

/* Arguments: socket, packet. */
SEC("raw_tp/tcp_retransmit_skb")
int segment_again(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock___bpfd *sk = (void *)ctx->args[0];
	struct sk_buff___bpfd *skb = (void *)ctx->args[1];
	struct inet_connection_sock___bpfd *connection = (void *)sk;
	struct tcp_skb_cb___bpfd *control = (void *)skb->cb;
	struct retransmission *event = event_of(sk, sk);

	if (!event)
		return 0;
	event->rule = rule_of(sk);
	event->state = BPF_CORE_READ(sk, __sk_common.skc_state);
	event->timeouts = BPF_CORE_READ(connection, icsk_retransmits);
	event->sequence = BPF_CORE_READ(control, seq);
	event->bytes = BPF_CORE_READ(control, end_seq) - event->sequence;
	ring_submit(ctx, segments, event, 0);
	return 0;
}

/* Arguments: the socket that listens, the request. */
SEC("raw_tp/tcp_retransmit_synack")
int syn_ack_again(struct bpf_raw_tracepoint_args *ctx)
{
	struct retransmission *event =
		event_of((void *)ctx->args[1], (void *)ctx->args[0]);

	if (!event)
		return 0;
	event->rule = SYN_ACK;
	event->state = NEW_SYN_RECV;
	event->bytes = 1;
	ring_submit(ctx, segments, event, 0);
	return 0;
}
