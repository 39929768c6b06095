/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * What user space sees of the filter: its types, settings and maps, the same in
 * every version of the program, so that one version takes over the maps of the
 * other.
 */
#ifndef DDOS_MAPS_H
#define DDOS_MAPS_H

#include <linux/types.h>
#include <linux/bpf.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <stdbool.h>
#include <bpf/bpf_helpers.h>
#include <bpfd/events.h>
#include <bpfd/shown.h>

/* Why a packet went where it went; key of `counters`. */
enum reason {
	/* Passed: nothing speaks against it. */
	PASSED,
	/* Passed: the source is on an allow list. */
	PASSED_SOURCE,
	/* Passed: neither IPv4 nor IPv6. */
	PASSED_OTHER,
	/* Passed without a look at its ports: a fragment that has none. */
	PASSED_FRAGMENT,
	/* Dropped: the source is on a block list. */
	BLOCKED_SOURCE_V4,
	BLOCKED_SOURCE_V6,
	/* Dropped: the port is blocked. */
	BLOCKED_PORT,
	/* Dropped: only_allowed_ports is on and the port is not allowed. */
	BLOCKED_UNLISTED_PORT,
	/* Dropped: drop_fragments is on. */
	BLOCKED_FRAGMENT,
	/* Dropped: a header is cut off or contradicts itself. */
	MALFORMED,
	/* Dropped: an answer of a service that is abused to amplify (v2). */
	BLOCKED_REFLECTION,
	REASONS,
};

KEY_OF_ENUM(reason);

/* Versions of the program; key of `versions`. */
enum version {
	V1,
	V2,
	VERSIONS,
};

KEY_OF_ENUM(version);

/* What `ports` says of a port. */
enum port_rule {
	PORT_BLOCKED = 1,
	PORT_ALLOWED = 2,
};

struct prefix_v4 {
	/* Bits of `address` that count: 0 to 32. */
	__u32 prefixlen;
	struct in_addr address;
};

struct prefix_v6 {
	/* Bits of `address` that count: 0 to 128. */
	__u32 prefixlen;
	struct in6_addr address;
};

struct port {
	/* IPPROTO_TCP 6, IPPROTO_UDP 17, ICMP 1, ICMPv6 58, ... */
	__u16 protocol;
	/* Destination port; of ICMP and ICMPv6 the type of the message. */
	__be16 port;
};

struct counter {
	__u64 packets;
	/* Of whole frames, from the Ethernet header on. */
	__u64 bytes;
};

/* A sampled drop. Addresses of IPv4 are IPv4-mapped (::ffff:a.b.c.d); fields
 * that the packet was too broken for are 0. */
struct drop {
	/* bpf_ktime_get_ns(): ns since boot without time asleep. */
	__u64 time_ns SHOWN_AS("ktime");
	struct in6_addr source;
	struct in6_addr destination;
	__be16 source_port;
	/* Of ICMP and ICMPv6: the type of the message. */
	__be16 destination_port;
	enum reason reason;
	/* Bytes of the whole frame. */
	__u32 length;
	__u32 ifindex;
	/* Value of the prefix in the block list that matched. */
	__u32 rule;
	/* 4, 6, or 0: not known. */
	__u8 ip_version;
	/* Of the transport header. */
	__u8 protocol;
	/* VLAN id of the outermost tag; 0: none. */
	__u16 vlan;
};

/* One event for every so many drops of a CPU; 1: each, 0: none. */
const volatile __u32 sample_every = 100;
/* Drop every fragment, the first ones too. */
const volatile bool drop_fragments = false;
/* Drop what cannot be parsed; else it is passed and counted all the same. */
const volatile bool drop_malformed = true;
/* Drop TCP and UDP to ports that `ports` does not allow. */
const volatile bool only_allowed_ports = false;

/*
 * Sources whose packets are dropped. Key: prefix; value: a number of the
 * user's choice that events carry as `rule`. Written by user space, read for
 * each packet. 131,072 prefixes hold the large public lists; memory is taken
 * entry by entry.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_v4);
	__type(value, __u32);
} block_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 131072);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_v6);
	__type(value, __u32);
} block_v6 SEC(".maps");

/*
 * Sources whose packets are passed whatever the other maps say. Key: prefix;
 * value: of the user's choice, not looked at. Written by user space, read for
 * each packet. Known good networks are few: 16,384.
 */
struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_v4);
	__type(value, __u32);
} allow_v4 SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_LPM_TRIE);
	__uint(max_entries, 16384);
	__uint(map_flags, BPF_F_NO_PREALLOC);
	__type(key, struct prefix_v6);
	__type(value, __u32);
} allow_v6 SEC(".maps");

/*
 * Rules by destination port. Key: protocol and port; value: the rule. Written
 * by user space, read for each packet whose source is on no list. Room for
 * every port of two protocols is not needed: 4,096.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 4096);
	__type(key, struct port);
	__type(value, enum port_rule);
} ports SEC(".maps");

/*
 * Packets by what became of them. Key: enum reason; value: counter of one CPU.
 * Written by the program, read by user space. One entry for each reason.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, REASONS);
	__type(key, reason_key);
	__type(value, struct counter);
} counters SEC(".maps");

/*
 * Packets by the version that saw them: shows that an update has arrived. Key:
 * enum version; value: counter of one CPU. Written by the program, read by user
 * space. One entry for each version.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, VERSIONS);
	__type(key, version_key);
	__type(value, struct counter);
} versions SEC(".maps");

/*
 * Drops since the last event. Key: 0; value: of one CPU. Read and written by
 * the program alone.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u32);
} unsampled SEC(".maps");

/* Sampled drops. Written by the program, read by user space. 1 MiB holds
 * 14,563 events: a reader may be late by that many. */
RING(drops, struct drop, 1 << 20);

#endif
