# SPDX-License-Identifier: Apache-2.0
"""A struct with a member for each rule of display, and values of random types."""

from __future__ import annotations

from bpfctl.btf import Btf, Codec
from bpfctl.btf.kinds import IntEncoding, Kind
from bpfctl.btf.parse import ByteOrder
from hypothesis import strategies as st

from tests.unit.bpfctl.btf.blob import Blob

ORDERS: list[ByteOrder] = ["little", "big"]

EVERYTHING = r"""
typedef unsigned char __u8; typedef unsigned short __u16; typedef unsigned int __u32;
typedef unsigned long long __u64; typedef long long __s64; typedef _Bool bool;
typedef __u16 __be16; typedef __u32 __be32; typedef __u64 __be64;
#define SHOWN_AS(format) __attribute__((btf_decl_tag("bpfd:format=" format)))
struct in_addr { __be32 s_addr; };
struct in6_addr { union { __u8 octets[16]; __be16 halves[8]; __be32 words[4]; } u; };
enum reason { PASSED, BLOCKED = 5, BROKEN = -2 };
enum flags { SYN = 1, ACK = 2, FIN = 4 };
enum wide { WIDE = 0x123456789abcULL };
struct unknown;
struct prefix_v4 { __u32 prefixlen; struct in_addr address; };
struct prefix_v6 { __u32 prefixlen; __u8 data[16]; };
struct bpf_lpm_trie_key { __u32 prefixlen; __u8 data[0]; };
struct prefix_embedded { struct bpf_lpm_trie_key key; __u32 address; };
struct bpf_lpm_trie_key_hdr { __u32 prefixlen; };
struct prefix_header {
    union { struct bpf_lpm_trie_key_hdr hdr; __u32 prefixlen; }; __u8 data[4];
};
struct prefix_other { __u32 prefixlen; __u16 low; __u16 high; };
struct prefix_unnamed { __u32 length; __be32 what; };
struct everything {
    __be32 saddr; struct in_addr daddr; struct in6_addr d6; __be16 dport; __be64 cookie;
    __u8 mac[6]; char comm[16]; enum reason reason; enum flags flags; enum wide wide;
    __u32 three : 3; int twelve : 12; bool bit : 1; bool yes;
    union { __u32 v4; __u8 v6[16]; };
    union { __u32 word; __u8 octets[4]; } both;
    float single; double twice; struct unknown *pointer; void (*call)(int); int matrix[2][3];
    __u64 duration SHOWN_AS("ns"); __u64 time SHOWN_AS("ktime"); __u32 ip SHOWN_AS("ipv4");
    __u8 six[16] SHOWN_AS("ipv6"); __u64 hardware SHOWN_AS("hex");
    __u8 digest[8] SHOWN_AS("hex"); __u32 many[2] SHOWN_AS("ipv4"); __s64 number;
    struct { int a; __u8 b; } pair[2]; __int128 huge; char names[2][4]; __u8 payload[20];
    __u8 few[3]; __be32 ack_seq; __u8 source_ip6[16]; __u8 plain[16]; __u8 vip[4];
    __u64 counter; __u8 tail[0];
};
struct enum_by_tag {
    __u32 reason SHOWN_AS("enum reason"); __u32 missing SHOWN_AS("enum nobody");
};
struct enum_by_tag enum_by_tag;
struct everything everything; struct prefix_v4 prefix_v4; struct prefix_v6 prefix_v6;
struct prefix_embedded prefix_embedded; struct prefix_header prefix_header;
struct prefix_other prefix_other; struct prefix_unnamed prefix_unnamed;
"""


def codec(btf: Btf, name: str, *, plain: bool = False, lpm: bool | None = None) -> Codec:
    """The codec of a struct or typedef by its name."""
    found = btf.find(name)
    assert found is not None, name
    return Codec(btf, found.id, plain=plain, lpm=lpm)


class _Types:
    """Draws types into a blob; sizes in bytes beside the ids."""

    def __init__(self, draw: st.DrawFn, order: ByteOrder) -> None:
        self.draw = draw
        self.blob = Blob(order)
        self.char = self.blob.integer("char", 1, IntEncoding.SIGNED)
        self.octet = self.blob.integer("unsigned char", 1)
        self.half = self.blob.integer("unsigned short", 2)
        self.word = self.blob.integer("unsigned int", 4)
        self.networks = [
            (self.blob.typedef("__be16", self.half), 2),
            (self.blob.typedef("__be32", self.word), 4),
        ]

    def any(self, depth: int) -> tuple[int, int]:
        """(type, size)."""
        leaves = [self.number, self.boolean, self.enum, self.pointer, self.text, self.network]
        composites = [self.struct, self.array] if depth else []
        return self.draw(st.sampled_from(leaves + composites))(depth)

    def number(self, depth: int) -> tuple[int, int]:
        size = self.draw(st.sampled_from([1, 2, 4, 8, 16]))
        signed = self.draw(st.sampled_from([IntEncoding.NONE, IntEncoding.SIGNED]))
        return self.blob.integer(f"int{size}", size, signed), size

    def boolean(self, depth: int) -> tuple[int, int]:
        return self.blob.integer("_Bool", 1, IntEncoding.BOOL), 1

    def network(self, depth: int) -> tuple[int, int]:
        return self.draw(st.sampled_from(self.networks))

    def pointer(self, depth: int) -> tuple[int, int]:
        return self.blob.pointer(), 8

    def enum(self, depth: int) -> tuple[int, int]:
        values = self.draw(st.sampled_from([{"A": 0, "B": 5}, {"X": 1, "Y": 2, "Z": 4}, {}]))
        return self.blob.enum("choice", 4, values, self.draw(st.booleans())), 4

    def text(self, depth: int) -> tuple[int, int]:
        count = self.draw(st.integers(0, 9))
        return self.blob.array(self.char, count), count

    def array(self, depth: int) -> tuple[int, int]:
        element, size = self.any(depth - 1)
        if self.draw(st.booleans()):
            element, size = self.octet, 1
        count = self.draw(st.sampled_from([0, 1, 3, 4, 6, 16, 17, 33]))
        return self.blob.array(element, count), size * count

    def struct(self, depth: int) -> tuple[int, int]:
        members: list[tuple[str, int, int, int]] = []
        at = 0
        for index in range(self.draw(st.integers(0, 4))):
            name = f"{self.draw(st.sampled_from(['field', 'addr', 'ip6']))}{index}"
            if self.draw(st.integers(0, 3)) == 0:
                bits = self.draw(st.integers(1, 31))
                members.append((name, self.word, at, bits))
                at += bits
                continue
            kind, size = self.any(depth - 1)
            at = (at + 7) // 8 * 8
            members.append((name, kind, at, 0))
            at += 8 * size
        size = (at + 7) // 8
        # Only structs: a union of random bytes is no canonical value.
        return self.blob.struct("drawn", size, members, Kind.STRUCT), size


@st.composite
def values(draw: st.DrawFn) -> tuple[Codec, bytes]:
    """A codec of a random type and random bytes of its size."""
    types = _Types(draw, draw(st.sampled_from(ORDERS)))
    type_id, size = types.any(3)
    return Codec(types.blob.btf(), type_id), draw(st.binary(min_size=size, max_size=size))
