/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * How user space shows a value where its type does not say. It goes into the
 * BTF of the object; no program and no kernel looks at it.
 */
#ifndef BPFD_SHOWN_H
#define BPFD_SHOWN_H

/*
 * On a member of a struct or a typedef. FORMAT is one of those of
 * docs/design/004-values-by-btf.md: "ktime" is a time of bpf_ktime_get_ns(),
 * "ns" a duration.
 */
#define SHOWN_AS(FORMAT) __attribute__((btf_decl_tag("bpfd:format=" FORMAT)))

/*
 * NAME_key: the key of an array whose places are those of enum NAME. The kernel
 * takes no other type than an integer of 32 bits there. The constant, which no
 * program reads, keeps the enum in the BTF.
 */
#define KEY_OF_ENUM(NAME)                                 \
	typedef __u32 NAME##_key SHOWN_AS("enum " #NAME); \
	const enum NAME *const volatile NAME##_key_names = 0

#endif
