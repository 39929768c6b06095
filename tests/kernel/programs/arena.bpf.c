/* SPDX-License-Identifier: GPL-2.0-only */
/* A program that shares an arena's memory with user space. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>
#include "numbers.h"

#define ARENA 33 /* enum bpf_map_type of Linux 6.9, newer than some headers */
#define __arena __attribute__((address_space(1)))

/* What lies in it from byte 64 on. */
struct node {
	__u64 number;
	__u64 twice;
	char name[8];
};

const struct node *kept __attribute__((unused));

struct {
	__uint(type, ARENA);
	__uint(map_flags, BPF_F_MMAPABLE);
	__uint(max_entries, 4); /* pages */
} at_memory SEC(".maps");

void __arena *bpf_arena_alloc_pages(void *map, void __arena *addr, __u32 pages, int node,
				    __u64 flags) __ksym __weak;

static struct node __arena *node;

/* Doubles the number that user space has written; the first run makes room for it. */
SEC("syscall")
int twice(void *ctx)
{
	char __arena *page;

	ran();
	if (!node) {
		page = bpf_arena_alloc_pages(&at_memory, NULL, 1, -1, 0);
		if (!page)
			return 1;
		node = (struct node __arena *)(page + 64);
	}
	show((__u64)node & 0xffffffff);
	node->twice = node->number * 2;
	node->name[0] = 'b';
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
