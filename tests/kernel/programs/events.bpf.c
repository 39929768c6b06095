/* SPDX-License-Identifier: GPL-2.0-only */
/* Writes records when a test runs it (BPF_PROG_TEST_RUN); counts all. */
#include <linux/bpf.h>
#include <linux/types.h>

#include <bpf/bpf_helpers.h>

struct event {
	__u64 number;
	__u64 words[4];
};

/* Context of `produce`. */
struct request {
	__u64 count;
	__u64 kind;
	__u64 flags;
	/* Rounds of nothing between two records. */
	__u64 pause;
};

enum kind {
	FIXED,	   /* 40 bytes */
	TWO_SIZES, /* 40 and 8 bytes in turn */
	DISCARD,   /* every third one of 40 bytes is discarded */
	LONG,	   /* 5000 bytes */
};

/* Records of `produce`. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 24);
} ev_ring SEC(".maps");

/* Records that found ev_ring full; by name the counter of ev_ring. */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 1);
	__type(key, __u32);
	__type(value, __u64);
} ev_ring_lost SEC(".maps");

/* Records of `produce_perf`. */
struct {
	__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY);
	__uint(key_size, 4);
	__uint(value_size, 4);
} ev_perf SEC(".maps");

__u64 produced;
__u64 perf_produced;

static __always_inline void lost(void)
{
	__u32 key = 0;
	__u64 *counter = bpf_map_lookup_elem(&ev_ring_lost, &key);

	if (counter)
		*counter += 1;
}

#define WRITE(size)                                                       \
	do {                                                              \
		__u64 *record = bpf_ringbuf_reserve(&ev_ring, (size), 0); \
		if (!record) {                                            \
			lost();                                           \
			break;                                            \
		}                                                         \
		record[0] = number;                                       \
		if ((size) > 8) {                                         \
			record[1] = ~number;                              \
			record[(size) / 8 - 1] = number * 3;              \
		}                                                         \
		bpf_ringbuf_submit(record, request->flags);               \
	} while (0)

#ifdef WITHOUT_CALLBACKS
static __always_inline
#else
static long nothing(__u32 index, void *context)
{
	return 0;
}

static
#endif
	long
	one(__u32 index, struct request *request)
{
	__u64 number = produced;
	__u64 *record;

#ifndef WITHOUT_CALLBACKS
	/* A loop of its own would make the verifier walk all behind it for every round. */
	if (request->pause)
		bpf_loop(request->pause, nothing, 0, 0);
#endif
	if (request->kind == TWO_SIZES && index & 1) {
		WRITE(8);
	} else if (request->kind == LONG) {
		WRITE(5000);
	} else if (request->kind == DISCARD && index % 3 == 2) {
		record = bpf_ringbuf_reserve(&ev_ring, 40, 0);
		if (record)
			bpf_ringbuf_discard(record, request->flags);
		return 0;
	} else {
		WRITE(40);
	}
	produced = number + 1;
	return 0;
}

SEC("syscall")
int produce(struct request *context)
{
	struct request request = *context;
#ifdef WITHOUT_CALLBACKS
	/* Kernels that interpret BPF: at most 16 records, from the one that pause says on. */
	__u32 first = request.pause;

	request.pause = 0;
	for (__u32 i = 0; i < 16 && i < request.count; i++)
		one(first + i, &request);
	return 0;
#else
	return bpf_loop(request.count, one, &request, 0);
#endif
}

SEC("raw_tp")
int produce_perf(__u64 *arguments)
{
	struct event event = {};
	__u64 i, count = arguments[0];

	for (i = 0; i < 1000 && i < count; i++) {
		event.number = perf_produced++;
		event.words[3] = event.number * 3;
		bpf_perf_event_output(arguments, &ev_perf, BPF_F_CURRENT_CPU,
				      &event, sizeof(event));
	}
	return 0;
}

SEC("syscall")
int print(struct request *request)
{
	bpf_printk("bpfd-test %llu", request->count);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
