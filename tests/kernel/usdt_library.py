# SPDX-License-Identifier: Apache-2.0
"""A library with USDT probes, as sys/sdt.h would write them."""

from __future__ import annotations

SOURCE = r"""
#define TEXT(x) #x
#define ADDRESS_(bytes) "." TEXT(bytes) "byte "
#define ADDRESS ADDRESS_(__SIZEOF_POINTER__)
#define PROBE(name, semaphore, arguments, ...)                              \
	__asm__ __volatile__("990: nop\n"                                   \
		".pushsection .note.stapsdt,\"\",\"note\"\n"                \
		".balign 4\n"                                               \
		".4byte 992f-991f, 994f-993f, 3\n"                          \
		"991: .asciz \"stapsdt\"\n"                                 \
		"992: .balign 4\n"                                          \
		"993: " ADDRESS "990b\n" ADDRESS "0\n" ADDRESS semaphore "\n" \
		".asciz \"bpfd\"\n.asciz \"" #name "\"\n"                   \
		".asciz \"" arguments "\"\n"                                \
		"994: .balign 4\n"                                          \
		".popsection\n" :: __VA_ARGS__)

__attribute__((section(".probes"), visibility("hidden"), used))
volatile unsigned short us_semaphore = 0;

int us_raised(int a) { return us_semaphore; }

/* A constant, a register and memory; the same probe at two places. */
int us_one(int a)
{
	volatile long long wide = -a;
	PROBE(work, "us_semaphore", "-4@%0 -4@%1 -8@%2", "n"(7), "r"(a), "m"(wide));
	return a;
}

int us_two(int a)
{
	volatile long long wide = 1000 + a;
	PROBE(work, "us_semaphore", "-4@%0 -4@%1 -8@%2", "r"(a), "n"(9), "m"(wide));
	return a;
}

int us_three(int a)
{
	PROBE(bare, "0", "", "n"(0));
	return a;
}
"""
