// SPDX-License-Identifier: GPL-2.0-only
/*
 * How long block devices take: a histogram for each disk, operation and set of
 * flags, counted in the kernel.
 *
 * The tracepoints are raw ones, whose arguments are the kernel's own: the
 * request is the first argument since Linux 5.11 (commit a54895fa057c).
 */
#include "kernel.h"
#include <bpfd/histogram.h>
#include <bpfd/shown.h>

char LICENSE[] SEC("license") = "GPL";

/* Settings. */
const volatile bool queued = false;
const volatile __u32 device = 0;
const volatile bool by_flags = false;
const volatile __u64 step = 0;

/* Of the kernel's enum req_op, which has had these numbers since 4.10. */
enum operation {
	READ = 0,
	WRITE = 1,
	FLUSH = 2,
	DISCARD = 3,
	SECURE_ERASE = 5,
	WRITE_ZEROES = 9,
	ZONE_APPEND_OLD = 13,
	DRIVER_IN = 34,
	DRIVER_OUT = 35,
};

/* The kernel moves its own bits around; these stay. */
enum request_flags {
	NONE = 0,
	SYNC = 1,
	META = 2,
	FUA = 4,
	AHEAD = 8,
	BACKGROUND = 16,
	PREFLUSH = 32,
};

#define DISK_NAME 32

struct request_kind {
	char disk[DISK_NAME];
	enum operation operation;
	enum request_flags flags;
};

/*
 * Microseconds by kind of request. Written by the programs, read by user space.
 * A plain hash: CPUs rarely complete at the same moment, and with flags there
 * may be many keys. 1024 are 100 disks with 10 kinds each, and 350 kB.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 1024);
	__type(key, struct request_kind);
	__type(value, struct histogram);
} latencies SEC(".maps");

/*
 * When requests that have not completed began, bpf_ktime_get_ns(), by the
 * address of the request. The programs' own. A disk has up to 1024 requests in
 * each of its queues, few of them in use.
 */
struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 16384);
	__type(key, __u64);
	__type(value, __u64);
} started SEC(".maps");

/* Requests that `started` or `latencies` had no room for. */
LEFT_OUT(missed);

static __always_inline bool is_wanted(struct request *request)
{
	struct gendisk *disk;
	__u32 number;

	if (!device)
		return true;
	disk = BPF_CORE_READ(request, q, disk);
	number = BPF_CORE_READ(disk, major) << 20 |
		 BPF_CORE_READ(disk, first_minor);
	return number == device;
}

static __always_inline void begin(struct request *request, __u64 how)
{
	__u64 key = (__u64)request, now = bpf_ktime_get_ns();

	if (is_wanted(request) &&
	    bpf_map_update_elem(&started, &key, &now, how) && how == BPF_ANY)
		left_out(&missed);
}

#define FLAG(KERNEL, OURS)                                                     \
	do {                                                                   \
		if (bpf_core_enum_value_exists(enum req_flag_bits, KERNEL) &&  \
		    flags >> bpf_core_enum_value(enum req_flag_bits, KERNEL) & \
			    1)                                                 \
			kind.flags |= OURS;                                    \
	} while (0)

/* Only with `queued`: the request enters an I/O scheduler's queue. */
SEC("raw_tp/block_rq_insert")
int inserted(struct bpf_raw_tracepoint_args *ctx)
{
	if (queued)
		begin((struct request *)ctx->args[0], BPF_ANY);
	return 0;
}

/* The request goes to the driver; one that was never inserted begins here. */
SEC("raw_tp/block_rq_issue")
int issued(struct bpf_raw_tracepoint_args *ctx)
{
	begin((struct request *)ctx->args[0], queued ? BPF_NOEXIST : BPF_ANY);
	return 0;
}

/* May come several times for one request, with parts of it: the last one has all that is
 * left. */
SEC("raw_tp/block_rq_complete")
int completed(struct bpf_raw_tracepoint_args *ctx)
{
	struct request *request = (struct request *)ctx->args[0];
	__u32 bytes = (__u32)ctx->args[2], flags;
	__u64 key = (__u64)request, now, *start;
	struct request_kind kind = {};

	if (bytes < BPF_CORE_READ(request, __data_len))
		return 0;
	start = bpf_map_lookup_elem(&started, &key);
	if (!start)
		return 0;
	now = bpf_ktime_get_ns();
	now = now > *start ? now - *start : 0;
	bpf_map_delete_elem(&started, &key);

	bpf_probe_read_kernel_str(kind.disk, sizeof(kind.disk),
				  BPF_CORE_READ(request, q, disk, disk_name));
	flags = BPF_CORE_READ(request, cmd_flags);
	kind.operation = flags & REQ_OP_MASK;
	if (by_flags) {
		FLAG(__REQ_SYNC, SYNC);
		FLAG(__REQ_META, META);
		FLAG(__REQ_FUA, FUA);
		FLAG(__REQ_RAHEAD, AHEAD);
		FLAG(__REQ_BACKGROUND, BACKGROUND);
		FLAG(__REQ_PREFLUSH, PREFLUSH);
	}
	histogram_add(&latencies, &kind, &missed, now / 1000, step);
	return 0;
}
