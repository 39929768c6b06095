/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Packet headers, one call each, from the link layer up.
 *
 * Contract of every parse_*():
 *  - it takes one header (or one chain of VLAN tags or extension headers) at
 *    the cursor, checks that all of it is inside the packet, and moves the
 *    cursor behind it;
 *  - it returns the type of what follows as a number in host byte order
 *    (EtherType or IP protocol), 0 where nothing follows that has a type, or a
 *    negative enum parse_error. After an error the cursor is of no use;
 *  - a pointer that it gives out may be read up to the end of the fixed part of
 *    that header;
 *  - nothing is read behind the length that an outer header declares, so that
 *    the padding of short Ethernet frames is never taken for a header.
 *
 * Works with the UAPI headers and with vmlinux.h (included before this file).
 * Bit-fields of the header structs are not used: their order in the headers at
 * hand is that of the machine that compiles, not of the target.
 */
#ifndef BPFD_PARSING_H
#define BPFD_PARSING_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#include <linux/bpf.h>
#include <linux/if_ether.h>
#include <linux/in.h>
#include <linux/in6.h>
#include <linux/ip.h>
#include <linux/ipv6.h>
#include <linux/tcp.h>
#include <linux/udp.h>
#include <stdbool.h>
#include <stddef.h>
#endif
#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

/* VLAN tags that parse_ethernet() follows; more are PARSE_TOO_DEEP. */
#ifndef PARSE_VLAN_TAGS_MAX
#define PARSE_VLAN_TAGS_MAX 4
#endif

/* Extension headers that parse_ipv6() follows; more are PARSE_TOO_DEEP. */
#ifndef PARSE_EXTENSIONS_MAX
#define PARSE_EXTENSIONS_MAX 8
#endif

/* All headers of a packet together; more are PARSE_TOO_DEEP. */
#define PARSE_HEADERS_BYTES_MAX 0x3fff

/* Bytes of an Ethernet header that do not fill a word. */
#define PARSE_BEFORE_WORDS 2

/* EtherTypes: IEEE 802 numbers, macros and so not in vmlinux.h. */
enum {
	ETHERTYPE_IPV4 = 0x0800,
	ETHERTYPE_IPV6 = 0x86DD,
	ETHERTYPE_VLAN = 0x8100,
	ETHERTYPE_SERVICE_VLAN = 0x88A8,
	/* Tags of pre-standard "Q-in-Q". */
	ETHERTYPE_OLD_SERVICE_VLAN = 0x9100,
};

/* Protocol numbers of IANA that no enum of the kernel has. */
enum {
	PROTOCOL_HOP_BY_HOP = 0,
	PROTOCOL_ROUTING = 43,
	PROTOCOL_FRAGMENT = 44,
	PROTOCOL_AUTHENTICATION = 51,
	PROTOCOL_ICMPV6 = 58,
	PROTOCOL_DESTINATION_OPTIONS = 60,
	PROTOCOL_MOBILITY = 135,
	PROTOCOL_HIP = 139,
	PROTOCOL_SHIM6 = 140,
};

enum parse_error {
	/* The packet ends inside the header, or before the declared length. */
	PARSE_TRUNCATED = -1,
	/* The header contradicts itself. */
	PARSE_INVALID = -2,
	/* More nested headers than this parser follows. */
	PARSE_TOO_DEEP = -3,
};

enum fragment {
	/* A whole packet. */
	FRAGMENT_NONE,
	/* The first fragment: the transport header is in it. */
	FRAGMENT_FIRST,
	/* A later one: what follows is payload, there are no ports. */
	FRAGMENT_LATER,
};

struct cursor {
	void *start;
	void *position;
	/* End of what may be read directly: of the linear part. */
	void *end;
	/* Bytes that are left of the packet, or of what an outer header
	 * declares; more than end - position when the packet has fragments. */
	__u32 left;
};

/* One IEEE 802.1Q tag as it follows the source address or another tag. */
struct vlan_tag {
	/* Priority 3 bits, drop eligible 1, VLAN id 12. */
	__be16 control;
	__be16 type;
};

/* Fixed part of an extension header: RFC 8200, section 4. */
struct ipv6_extension {
	__u8 next_header;
	/* In 8 bytes without the first 8; AH: in 4 bytes without the first 8. */
	__u8 length;
};

/* RFC 8200, section 4.5. */
struct ipv6_fragment {
	__u8 next_header;
	__u8 reserved;
	/* Offset in 8 bytes: 13 bits, reserved 2 bits, more fragments 1 bit. */
	__be16 offset;
	__be32 identification;
};

struct ports {
	__be16 source;
	/* Of ICMP and ICMPv6: the type of the message. */
	__be16 destination;
};

/* Starts at `data`. `length` is that of the whole packet, fragments included. */
static __always_inline void cursor_init(struct cursor *cursor, void *data,
					void *end, __u32 length)
{
	cursor->start = data;
	cursor->position = data;
	cursor->end = end;
	cursor->left = length;
}

/* Moves behind the next `bytes` and gives their start; NULL: not all there. */
static __always_inline void *cursor_take(struct cursor *cursor, __u32 bytes)
{
	void *start = cursor->position;

	if (bytes > cursor->left || start + bytes > cursor->end)
		return NULL;
	cursor->position = start + bytes;
	cursor->left -= bytes;
	return start;
}

/*
 * Makes the verifier forget by which way the cursor came here: the difference
 * of two packet pointers is any number to it, so that all ways through the
 * headers before this point go on as one. Without it their number is multiplied
 * by each header that may or may not be there. It still knows that headers
 * behind Ethernet are whole words, which CPUs that cannot read unaligned words
 * (riscv64) depend on. 0, or negative when the headers are longer than any that
 * this parser follows.
 */
static __always_inline int cursor_settle(struct cursor *cursor)
{
	__u64 offset = cursor->position - cursor->start - PARSE_BEFORE_WORDS;

	barrier_var(offset);
	offset &= ~3ULL;
	if (offset > PARSE_HEADERS_BYTES_MAX)
		return PARSE_TOO_DEEP;
	cursor->position = cursor->start + PARSE_BEFORE_WORDS + offset;
	return 0;
}

/*
 * Ethernet with any VLAN tags. `vlan` becomes the id of the outermost tag, 0
 * when there is none. Returns the EtherType behind the tags.
 */
static __always_inline int parse_ethernet(struct cursor *cursor,
					  struct ethhdr **header, __u16 *vlan)
{
	struct ethhdr *ethernet = cursor_take(cursor, sizeof(*ethernet));
	struct vlan_tag *tag;
	int type, tags;

	*vlan = 0;
	if (!ethernet)
		return PARSE_TRUNCATED;
	*header = ethernet;
	type = bpf_ntohs(ethernet->h_proto);

#pragma clang loop unroll(disable)
	for (tags = 0; tags <= PARSE_VLAN_TAGS_MAX; tags++) {
		if (type != ETHERTYPE_VLAN && type != ETHERTYPE_SERVICE_VLAN &&
		    type != ETHERTYPE_OLD_SERVICE_VLAN)
			return type;
		if (tags == PARSE_VLAN_TAGS_MAX)
			break;
		tag = cursor_take(cursor, sizeof(*tag));
		if (!tag)
			return PARSE_TRUNCATED;
		if (tags == 0)
			*vlan = bpf_ntohs(tag->control) & 0x0fff;
		type = bpf_ntohs(tag->type);
		if (cursor_settle(cursor))
			break;
	}
	return PARSE_TOO_DEEP;
}

/*
 * IPv4 with options. Returns the protocol; look at `fragment` before parsing
 * on. The cursor ends where the declared length does.
 */
static __always_inline int parse_ipv4(struct cursor *cursor,
				      struct iphdr **header,
				      enum fragment *fragment)
{
	__u32 before = cursor->left, header_bytes, total;
	struct iphdr *ipv4 = cursor_take(cursor, sizeof(*ipv4));
	__u8 version_and_words;
	__u16 offset;

	*fragment = FRAGMENT_NONE;
	if (!ipv4)
		return PARSE_TRUNCATED;
	version_and_words = *(__u8 *)ipv4;
	header_bytes = (version_and_words & 0x0f) * 4;
	if (version_and_words >> 4 != 4 || header_bytes < sizeof(*ipv4))
		return PARSE_INVALID;

	total = bpf_ntohs(ipv4->tot_len);
	/* Packets put together by the stack may be longer than the field can
	 * say; it is 0 then (since Linux 6.3). */
	if (!total && before > 0xffff)
		total = before;
	if (total < header_bytes)
		return PARSE_INVALID;
	if (total > before)
		return PARSE_TRUNCATED;
	cursor->left = total - sizeof(*ipv4);
	if (!cursor_take(cursor, header_bytes - sizeof(*ipv4)))
		return PARSE_TRUNCATED;
	if (cursor_settle(cursor))
		return PARSE_TOO_DEEP;

	*header = ipv4;
	offset = bpf_ntohs(ipv4->frag_off);
	if (offset & 0x1fff)
		*fragment = FRAGMENT_LATER;
	else if (offset & 0x2000)
		*fragment = FRAGMENT_FIRST;
	return ipv4->protocol;
}

/*
 * IPv6 with extension headers up to the first fragment that is not the start
 * of its packet. Returns the protocol behind them; look at `fragment` before
 * parsing on. ESP and "no next header" are protocols here.
 */
static __always_inline int parse_ipv6(struct cursor *cursor,
				      struct ipv6hdr **header,
				      enum fragment *fragment)
{
	struct ipv6hdr *ipv6 = cursor_take(cursor, sizeof(*ipv6));
	struct ipv6_extension *extension;
	struct ipv6_fragment *part;
	int protocol, depth;
	__u32 payload, rest;

	*fragment = FRAGMENT_NONE;
	if (!ipv6)
		return PARSE_TRUNCATED;
	if (*(__u8 *)ipv6 >> 4 != 6)
		return PARSE_INVALID;
	protocol = ipv6->nexthdr;

	payload = bpf_ntohs(ipv6->payload_len);
	/* 0 with a hop-by-hop header: a jumbogram (RFC 2675), or a packet put
	 * together by the stack that is longer than the field can say. */
	if (!payload &&
	    (protocol == PROTOCOL_HOP_BY_HOP || cursor->left > 0xffff))
		payload = cursor->left;
	if (payload > cursor->left)
		return PARSE_TRUNCATED;
	cursor->left = payload;
	*header = ipv6;

#pragma clang loop unroll(disable)
	for (depth = 0; depth <= PARSE_EXTENSIONS_MAX; depth++) {
		switch (protocol) {
		case PROTOCOL_FRAGMENT:
			part = cursor_take(cursor, sizeof(*part));
			if (!part)
				return PARSE_TRUNCATED;
			protocol = part->next_header;
			/* Offset 0 and no more: an atomic fragment (RFC 6946),
			 * a whole packet. */
			if (part->offset & bpf_htons(0xfff8)) {
				*fragment = FRAGMENT_LATER;
				return protocol;
			}
			if (part->offset & bpf_htons(1))
				*fragment = FRAGMENT_FIRST;
			break;
		case PROTOCOL_HOP_BY_HOP:
		case PROTOCOL_ROUTING:
		case PROTOCOL_DESTINATION_OPTIONS:
		case PROTOCOL_AUTHENTICATION:
		case PROTOCOL_MOBILITY:
		case PROTOCOL_HIP:
		case PROTOCOL_SHIM6:
			extension = cursor_take(cursor, 8);
			if (!extension)
				return PARSE_TRUNCATED;
			rest = extension->length;
			rest *= protocol == PROTOCOL_AUTHENTICATION ? 4 : 8;
			protocol = extension->next_header;
			if (!cursor_take(cursor, rest))
				return PARSE_TRUNCATED;
			break;
		default:
			return protocol;
		}
		if (cursor_settle(cursor))
			return PARSE_TOO_DEEP;
	}
	return PARSE_TOO_DEEP;
}

/*
 * Ports of TCP, UDP, UDP-Lite, SCTP and DCCP, the type of ICMP and ICMPv6; of
 * other protocols nothing is taken and the ports are 0. Not for later
 * fragments. The cursor is behind the fixed part of the header. Returns 0.
 */
static __always_inline int parse_ports(struct cursor *cursor, int protocol,
				       struct ports *ports)
{
	__u32 left = cursor->left, bytes;
	__u8 *header;

	ports->source = 0;
	ports->destination = 0;
	switch (protocol) {
	case IPPROTO_TCP:
		header = cursor_take(cursor, sizeof(struct tcphdr));
		if (!header)
			return PARSE_TRUNCATED;
		bytes = (header[12] >> 4) * 4;
		if (bytes < sizeof(struct tcphdr))
			return PARSE_INVALID;
		if (bytes > left)
			return PARSE_TRUNCATED;
		break;
	case IPPROTO_UDP:
		header = cursor_take(cursor, sizeof(struct udphdr));
		if (!header)
			return PARSE_TRUNCATED;
		bytes = bpf_ntohs(((struct udphdr *)header)->len);
		/* 0 in a jumbogram (RFC 2675). */
		if (bytes < sizeof(struct udphdr) && (bytes || left <= 0xffff))
			return PARSE_INVALID;
		break;
	case IPPROTO_UDPLITE:
	case IPPROTO_DCCP:
	case IPPROTO_SCTP:
		header = cursor_take(cursor, 8);
		if (!header)
			return PARSE_TRUNCATED;
		break;
	case IPPROTO_ICMP:
	case PROTOCOL_ICMPV6:
		header = cursor_take(cursor, 4);
		if (!header)
			return PARSE_TRUNCATED;
		ports->destination = bpf_htons(header[0]);
		return 0;
	default:
		return 0;
	}
	ports->source = *(__be16 *)header;
	ports->destination = *(__be16 *)(header + 2);
	return 0;
}

#endif
