/* SPDX-License-Identifier: GPL-2.0-only */
/* Reads as sources for 64-bit kernels do them, from slots of 8 bytes. */
#include <linux/bpf.h>
#include <linux/ptrace.h>
#include <bpf/bpf_helpers.h>
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_tracing.h>

/* Every field has the lower half of its slot to itself on a 32-bit kernel. */
struct slots {
	void *pointer;
	unsigned long number;
	long negative;
	unsigned int word;
	unsigned int next_word;
	unsigned int words[2];
	unsigned long long wide;
	struct slots *self;
	char text[8];
};

struct values {
	__u64 pointer, pointer_into, pointer_plain, number, number_into, word, through;
	__s64 negative, negative_plain;
	__u64 words, wide, untyped, half;
	char text[8];
	__s64 argument_long, argument_int;
	__u64 argument_unsigned;
};

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct slots);
} memory SEC(".maps");

struct {
	__uint(type, BPF_MAP_TYPE_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, struct values);
} seen SEC(".maps");

char LICENSE[] SEC("license") = "GPL";

SEC("raw_tp/sched_switch")
int reads(void *context)
{
	__u32 zero = 0;
	struct slots *slots = bpf_map_lookup_elem(&memory, &zero);
	struct values *values = bpf_map_lookup_elem(&seen, &zero);
	unsigned int half;
	unsigned long number;
	long negative;
	void *pointer;

	if (!slots || !values)
		return 0;
	values->pointer = (__u64)BPF_PROBE_READ(slots, pointer);
	BPF_PROBE_READ_INTO(&values->pointer_into, slots, pointer);
	bpf_probe_read_kernel(&pointer, sizeof(pointer), &slots->pointer);
	values->pointer_plain = (__u64)pointer;
	values->number = BPF_PROBE_READ(slots, number);
	bpf_probe_read_kernel(&number, sizeof(number), &slots->number);
	values->number_into = number;
	values->negative = BPF_PROBE_READ(slots, negative);
	bpf_probe_read_kernel(&negative, sizeof(negative), &slots->negative);
	values->negative_plain = negative;
	bpf_probe_read_kernel(&values->word, sizeof(values->word), &slots->word);
	values->through = BPF_PROBE_READ(slots, self, self, number);
	bpf_probe_read_kernel(&values->words, sizeof(values->words), slots->words);
	bpf_probe_read_kernel(&values->wide, sizeof(values->wide), &slots->wide);
	bpf_probe_read_kernel(&values->untyped, sizeof(values->untyped),
			      (void *)&slots->number);
	bpf_probe_read_kernel(&half, sizeof(half), &slots->number);
	values->half = half;
	BPF_PROBE_READ_STR_INTO(&values->text, slots, text);
	return 1;
}

SEC("raw_tp/sched_switch")
int BPF_PROG(arguments, long signed_long, int plain, unsigned long unsigned_long)
{
	__u32 zero = 0;
	struct values *values = bpf_map_lookup_elem(&seen, &zero);

	if (values) {
		values->argument_long = signed_long;
		values->argument_int = plain;
		values->argument_unsigned = unsigned_long;
	}
	return 0;
}
