/* SPDX-License-Identifier: GPL-2.0-only */
/*
 * Events to user space through a ring buffer that never loses silently.
 *
 *	RING(drops, struct drop, 1 << 20);
 *
 *	struct drop *event = ring_reserve(drops, struct drop);
 *
 *	if (event) {
 *		event->reason = reason;
 *		ring_submit(ctx, drops, event, BPF_RB_NO_WAKEUP);
 *	}
 *
 * Beside the ring `drops` there is the per-CPU counter `drops_lost`: how many
 * records found the ring full. Whoever subscribes to a ring looks for the map
 * of that name and reports the losses with the records.
 *
 * With the macro EVENTS_BY_PERF_BUFFER the same source uses a perf buffer, for
 * kernels that have no ring buffer (before 5.8).
 *
 * Works with the UAPI headers and with vmlinux.h (included before this file).
 */
#ifndef BPFD_EVENTS_H
#define BPFD_EVENTS_H

#ifndef __VMLINUX_H__
#include <linux/types.h>
#include <linux/bpf.h>
#endif
#include <bpf/bpf_helpers.h>
#include <bpfd/shown.h>

/*
 * Declares the ring NAME of BYTES (a power of two, and whole pages of the
 * target: at least 65536 is safe everywhere) and its counter. NAME has at most
 * 10 letters, so that the counter's name fits into the 15 bytes that the
 * kernel keeps.
 *
 * A ring has no value type of its own in BTF; the type of its records is what
 * NAME_record points to, a constant that no program reads.
 */
#ifndef EVENTS_BY_PERF_BUFFER
#define RING_MAP(NAME, TYPE, BYTES)                 \
	struct {                                    \
		__uint(type, BPF_MAP_TYPE_RINGBUF); \
		__uint(max_entries, BYTES);         \
	} NAME SEC(".maps")
#else
/* Of a perf buffer the reader says the size, BYTES are left out. NAME_room is
 * where a record is put together, one for each CPU: written and sent by the
 * program, which must not interrupt itself. */
#define RING_MAP(NAME, TYPE, BYTES)                          \
	struct {                                             \
		__uint(type, BPF_MAP_TYPE_PERF_EVENT_ARRAY); \
		__uint(key_size, sizeof(__u32));             \
		__uint(value_size, sizeof(__u32));           \
	} NAME SEC(".maps");                                 \
	struct {                                             \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);     \
		__uint(max_entries, 1);                      \
		__type(key, __u32);                          \
		__type(value, TYPE);                         \
	} NAME##_room SEC(".maps")
#endif

#define RING(NAME, TYPE, BYTES)                                              \
	_Static_assert(sizeof(#NAME) <= 11, "name of the ring is too long"); \
	_Static_assert(sizeof(TYPE) % 8 == 0, "records are padded to 8");    \
	const TYPE *const volatile NAME##_record = 0;                        \
	RING_MAP(NAME, TYPE, BYTES);                                         \
	struct {                                                             \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);                     \
		__uint(max_entries, 1);                                      \
		__type(key, __u32);                                          \
		__type(value, __u64);                                        \
	} NAME##_lost SEC(".maps")

/*
 * Records of different lengths: SIZED_RING in place of RING, and
 *
 *	struct name *event = ring_room(&names_room);
 *
 *	if (event)
 *		ring_output(ctx, names, event, BYTES);
 *
 * A record ends after BYTES (at most those of TYPE); readers take what is
 * missing of TYPE for zeros. NAME_room is where a record is put together: one
 * for each CPU, of programs that do not interrupt each other.
 */
#ifndef EVENTS_BY_PERF_BUFFER
#define SIZED_RING(NAME, TYPE, BYTES)                    \
	RING(NAME, TYPE, BYTES);                         \
	struct {                                         \
		__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY); \
		__uint(max_entries, 1);                  \
		__type(key, __u32);                      \
		__type(value, TYPE);                     \
	} NAME##_room SEC(".maps")

#define ring_output(CONTEXT, NAME, RECORD, BYTES) \
	ring_output_or_count(&NAME, &NAME##_lost, RECORD, BYTES)
#else
#define SIZED_RING(NAME, TYPE, BYTES) RING(NAME, TYPE, BYTES)

#define ring_output(CONTEXT, NAME, RECORD, BYTES) \
	bpf_perf_event_output(CONTEXT, &NAME, BPF_F_CURRENT_CPU, RECORD, BYTES)
#endif

static __always_inline void count_lost(void *lost)
{
	__u32 zero = 0;
	__u64 *count = bpf_map_lookup_elem(lost, &zero);

	/* Atomic, as a program may interrupt itself on its CPU. */
	if (count)
		__sync_fetch_and_add(count, 1);
}

static __always_inline void *ring_room(void *room)
{
	__u32 zero = 0;

	return bpf_map_lookup_elem(room, &zero);
}

#ifndef EVENTS_BY_PERF_BUFFER
/* Room for one record in the ring, or NULL after counting the loss. Every
 * path of the program must submit or discard the record. */
#define ring_reserve(NAME, TYPE) \
	((TYPE *)ring_reserve_or_count(&NAME, &NAME##_lost, sizeof(TYPE)))

/*
 * CONTEXT is the program's. FLAGS: 0 wakes the reader when it waits;
 * BPF_RB_NO_WAKEUP leaves it to the reader to look again (a wake-up for each
 * record costs a busy producer more than the record); BPF_RB_FORCE_WAKEUP
 * wakes it in any case.
 */
#define ring_submit(CONTEXT, NAME, RECORD, FLAGS) \
	bpf_ringbuf_submit(RECORD, FLAGS)

static __always_inline void *ring_reserve_or_count(void *ring, void *lost,
						   __u64 bytes)
{
	void *record = bpf_ringbuf_reserve(ring, bytes, 0);

	if (!record)
		count_lost(lost);
	return record;
}

static __always_inline void ring_output_or_count(void *ring, void *lost,
						 void *record, __u64 bytes)
{
	if (bpf_ringbuf_output(ring, record, bytes, 0))
		count_lost(lost);
}
#else
#define ring_reserve(NAME, TYPE) ((TYPE *)ring_room(&NAME##_room))

/* The kernel counts what finds a perf buffer full, and tells its reader. */
#define ring_submit(CONTEXT, NAME, RECORD, FLAGS)                        \
	bpf_perf_event_output(CONTEXT, &NAME, BPF_F_CURRENT_CPU, RECORD, \
			      sizeof(*(RECORD)))
#endif

#endif
