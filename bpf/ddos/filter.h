/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * The filter behind every version of the package: filter() gives a packet its
 * verdict. A version is a program that calls it.
 *
 * The object has no CO-RE relocations: one build loads on every kernel that has
 * XDP with fragments (5.18) and BTF, and one on those without BTF.
 */
#ifndef DDOS_FILTER_H
#define DDOS_FILTER_H

#include <bpfd/parsing.h>
#include "maps.h"

/* A kernel without BTF does not know the context among a global function's parameters. */
#ifdef BPFD_KERNEL_WITHOUT_BTF
#define VERIFIED_ONCE static __noinline
#else
#define VERIFIED_ONCE __noinline
#endif

/* What parse_packet() found; all 0 where the packet was too broken for it. */
struct packet {
	struct in6_addr source;
	struct in6_addr destination;
	struct ports ports;
	/* Bytes of the whole frame. */
	__u32 length;
	/* 0 or a negative enum parse_error of the transport header. */
	int transport;
	/* A fragment: enum fragment. */
	__u32 fragment;
	/* Of the prefix that blocked it. */
	__u32 rule;
	/* 4, 6, or 0: not IP. */
	__u8 ip_version;
	__u8 protocol;
	__u16 vlan;
};

static __always_inline void count(void *map, __u32 key, __u32 length)
{
	struct counter *counter = bpf_map_lookup_elem(map, &key);

	if (!counter)
		return;
	counter->packets++;
	counter->bytes += length;
}

static __always_inline bool sampled(void)
{
	__u32 zero = 0, *drops_before;

	if (sample_every <= 1)
		return sample_every;
	drops_before = bpf_map_lookup_elem(&unsampled, &zero);
	if (!drops_before || ++*drops_before < sample_every)
		return false;
	*drops_before = 0;
	return true;
}

static __always_inline void report(struct xdp_md *ctx, struct packet *packet,
				   enum reason reason)
{
	struct drop *drop = ring_reserve(drops, struct drop);

	if (!drop)
		return;
	drop->time_ns = bpf_ktime_get_ns();
	drop->source = packet->source;
	drop->destination = packet->destination;
	drop->source_port = packet->ports.source;
	drop->destination_port = packet->ports.destination;
	drop->reason = reason;
	drop->length = packet->length;
	drop->ifindex = ctx->ingress_ifindex;
	drop->rule = packet->rule;
	drop->ip_version = packet->ip_version;
	drop->protocol = packet->protocol;
	drop->vlan = packet->vlan;
	/* Under attack a wake-up for each drop would be an attack of its own. */
	ring_submit(ctx, drops, drop, BPF_RB_NO_WAKEUP);
}

static __always_inline void map_address(struct in6_addr *to, __be32 address)
{
	to->in6_u.u6_addr32[0] = 0;
	to->in6_u.u6_addr32[1] = 0;
	to->in6_u.u6_addr32[2] = bpf_htonl(0xffff);
	to->in6_u.u6_addr32[3] = address;
}

/*
 * Fills in the packet. Returns 0, or a negative enum parse_error of the link
 * or network layer. A global function, as the verifier walks those once,
 * whatever they are called with: inlined, every way through the headers would
 * be multiplied by every way through the rules.
 */
VERIFIED_ONCE int parse_packet(struct xdp_md *ctx, struct packet *packet)
{
	enum fragment fragment = FRAGMENT_NONE;
	struct ethhdr *ethernet;
	struct cursor cursor;
	struct ipv6hdr *ipv6;
	struct iphdr *ipv4;
	__u16 vlan;
	int type;

	if (!packet)
		return PARSE_INVALID;
	cursor_init(&cursor, (void *)(long)ctx->data,
		    (void *)(long)ctx->data_end, packet->length);
	type = parse_ethernet(&cursor, &ethernet, &vlan);
	packet->vlan = vlan;

	if (type == ETHERTYPE_IPV4) {
		type = parse_ipv4(&cursor, &ipv4, &fragment);
		if (type < 0)
			return type;
		packet->ip_version = 4;
		map_address(&packet->source, ipv4->saddr);
		map_address(&packet->destination, ipv4->daddr);
	} else if (type == ETHERTYPE_IPV6) {
		type = parse_ipv6(&cursor, &ipv6, &fragment);
		if (type < 0)
			return type;
		packet->ip_version = 6;
		packet->source = ipv6->saddr;
		packet->destination = ipv6->daddr;
	} else {
		return type < 0 ? type : 0;
	}

	packet->protocol = type;
	packet->fragment = fragment;
	if (fragment != FRAGMENT_LATER)
		packet->transport = parse_ports(&cursor, type, &packet->ports);
	return 0;
}

/* The value of the longest prefix that holds the source, or NULL. */
static __always_inline __u32 *find_source(void *trie_v4, void *trie_v6,
					  struct packet *packet)
{
	struct prefix_v6 key_v6 = { .prefixlen = 128 };
	struct prefix_v4 key_v4 = { .prefixlen = 32 };

	if (packet->ip_version == 4) {
		key_v4.address.s_addr = packet->source.in6_u.u6_addr32[3];
		return bpf_map_lookup_elem(trie_v4, &key_v4);
	}
	key_v6.address = packet->source;
	return bpf_map_lookup_elem(trie_v6, &key_v6);
}

/*
 * Answers of services that are abused to amplify small forged questions: the
 * answer comes from the service's port. DNS (53) and NTP (123) are not among
 * them, as servers use those themselves. Ports: US-CERT alert TA14-017A.
 */
static __always_inline bool is_reflection(struct packet *packet)
{
	if (packet->protocol != IPPROTO_UDP)
		return false;
	switch (bpf_ntohs(packet->ports.source)) {
	case 17:    /* quote of the day */
	case 19:    /* chargen */
	case 389:   /* CLDAP */
	case 1900:  /* SSDP */
	case 11211: /* memcached */
		return true;
	default:
		return false;
	}
}

static __always_inline enum reason judge_port(struct packet *packet)
{
	struct port key = { .protocol = packet->protocol,
			    .port = packet->ports.destination };
	enum port_rule *rule = bpf_map_lookup_elem(&ports, &key);

	if (rule)
		return *rule == PORT_BLOCKED ? BLOCKED_PORT : PASSED;
	if (only_allowed_ports && (packet->protocol == IPPROTO_TCP ||
				   packet->protocol == IPPROTO_UDP))
		return BLOCKED_UNLISTED_PORT;
	return PASSED;
}

static __always_inline enum reason
judge(struct xdp_md *ctx, struct packet *packet, enum version version)
{
	__u32 *rule;

	if (parse_packet(ctx, packet) < 0)
		return MALFORMED;
	if (!packet->ip_version)
		return PASSED_OTHER;

	if (find_source(&allow_v4, &allow_v6, packet))
		return PASSED_SOURCE;
	rule = find_source(&block_v4, &block_v6, packet);
	if (rule) {
		packet->rule = *rule;
		return packet->ip_version == 4 ? BLOCKED_SOURCE_V4
					       : BLOCKED_SOURCE_V6;
	}

	if (packet->fragment != FRAGMENT_NONE && drop_fragments)
		return BLOCKED_FRAGMENT;
	if (packet->fragment == FRAGMENT_LATER)
		return PASSED_FRAGMENT;
	if (packet->transport < 0)
		return MALFORMED;
	if (version >= V2 && is_reflection(packet))
		return BLOCKED_REFLECTION;
	return judge_port(packet);
}

/* The verdict on a packet: XDP_PASS or XDP_DROP, counted and reported. */
static __always_inline int filter(struct xdp_md *ctx, enum version version)
{
	struct packet packet = {};
	enum reason reason;

	packet.length = bpf_xdp_get_buff_len(ctx);
	reason = judge(ctx, &packet, version);
	count(&versions, version, packet.length);
	count(&counters, reason, packet.length);
	if (reason < BLOCKED_SOURCE_V4)
		return XDP_PASS;
	if (reason == MALFORMED && !drop_malformed)
		return XDP_PASS;
	if (sampled())
		report(ctx, &packet, reason);
	return XDP_DROP;
}

#endif
