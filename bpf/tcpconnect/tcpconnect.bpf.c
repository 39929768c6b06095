// SPDX-License-Identifier: GPL-2.0-only
/*
 * One event for each TCP connection that this machine opens, once it is known
 * whether it came to be: both ends, process, how long the handshake took, or
 * why it failed.
 *
 * Follows the states of sockets: CLOSE to SYN_SENT is connect(), in the process
 * that calls it, and the next change, mostly while a packet is received, its
 * outcome. So it makes no difference whether the process waits for it.
 */
#include <bpfd/process.h>
#include <bpf/bpf_endian.h>
#include <bpfd/error_numbers.h>
#include <bpfd/events.h>
#include <bpfd/socket.h>

char LICENSE[] SEC("license") = "GPL";

#define IPPROTO_TCP 6
/* Of include/uapi/asm-generic/fcntl.h. */
#define O_NONBLOCK 04000

struct attempt {
	/* bpf_ktime_get_ns() at the outcome. */
	__u64 end_ns SHOWN_AS("ktime");
	/* From connect() to the outcome: of one that came to be the round trip. */
	__u64 duration_ns SHOWN_AS("ns");
	__u64 cgroup_id;
	struct in6_addr local;
	struct in6_addr remote;
	__be16 local_port;
	__be16 remote_port;
	__u32 netns;
	__u32 pid;
	__u32 uid;
	/* NONE with established=false: the process gave up. */
	enum error_number error;
	enum address_family family;
	char comm[16];
	bool established;
	/* connect() did not wait. */
	bool nonblocking;
};

/* Only attempts that fail. */
const volatile bool failed = false;

struct opening {
	__u64 start_ns;
	__u32 pid;
	__u32 uid;
	char comm[16];
	bool nonblocking;
};

/*
 * Attempts without an outcome. Key: address of the struct sock. The program's
 * own. When it is full the oldest is forgotten, and never told. 8192 are 1 MB.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LRU_HASH);
	__uint(max_entries, 8192);
	__type(key, __u64);
	__type(value, struct opening);
} openings SEC(".maps");

/* Attempts with their outcome. Written by the program, read by user space.
 * 1 MiB holds 8,738 events. */
RING(attempts, struct attempt, 1 << 20);

static __always_inline void begin(struct sock___bpfd *sk, __u64 key)
{
	struct opening opening = {};

	if (!is_wanted_process() || (netns && netns_of(sk) != netns))
		return;
	opening.start_ns = bpf_ktime_get_ns();
	opening.pid = current_pid();
	opening.uid = bpf_get_current_uid_gid();
	bpf_get_current_comm(opening.comm, sizeof(opening.comm));
	opening.nonblocking =
		BPF_CORE_READ(sk, sk_socket, file, f_flags) & O_NONBLOCK;
	bpf_map_update_elem(&openings, &key, &opening, BPF_ANY);
}

static __always_inline void end(void *ctx, struct sock___bpfd *sk,
				struct opening *opening, bool established)
{
	struct attempt *event;

	if (failed && established)
		return;
	event = ring_reserve(attempts, struct attempt);
	if (!event)
		return;
	__builtin_memset(event, 0, sizeof(*event));
	event->end_ns = bpf_ktime_get_ns();
	event->duration_ns = event->end_ns - opening->start_ns;
	event->cgroup_id = cgroup_of(sk);
	event->family = BPF_CORE_READ(sk, __sk_common.skc_family);
	read_addresses(&event->local, &event->remote, sk);
	event->local_port = local_port_of(sk);
	event->remote_port = BPF_CORE_READ(sk, __sk_common.skc_dport);
	event->netns = netns_of(sk);
	event->pid = opening->pid;
	event->uid = opening->uid;
	__builtin_memcpy(event->comm, opening->comm, sizeof(event->comm));
	event->established = established;
	event->nonblocking = opening->nonblocking;
	if (!established)
		event->error = BPF_CORE_READ(sk, sk_err);
	ring_submit(ctx, attempts, event, 0);
}

/* Arguments: socket, old state, new state. */
SEC("raw_tp/inet_sock_set_state")
int tcpconnect(struct bpf_raw_tracepoint_args *ctx)
{
	struct sock___bpfd *sk = (void *)ctx->args[0];
	int to = ctx->args[2];
	struct opening *opening;
	__u64 key = (__u64)sk;

	if (BPF_CORE_READ(sk, sk_protocol) != IPPROTO_TCP)
		return 0;
	if (to == SYN_SENT) {
		begin(sk, key);
		return 0;
	}
	opening = bpf_map_lookup_elem(&openings, &key);
	if (!opening)
		return 0;
	/* Two ends may open at the same time: it goes on in SYN_RECV. */
	if (to == SYN_RECV)
		return 0;
	end(ctx, sk, opening, to == ESTABLISHED);
	bpf_map_delete_elem(&openings, &key);
	return 0;
}
