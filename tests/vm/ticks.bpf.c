/* SPDX-License-Identifier: GPL-2.0-only */
/* One event for each sample of a clock: a stream that goes on whatever the board does. */
#include <linux/bpf.h>
#include <bpf/bpf_helpers.h>

/* Times of the boot clock in nanoseconds. Written by tick, read by the tests. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 16);
} ticks SEC(".maps");

SEC("perf_event")
int tick(void *ctx)
{
	__u64 now = bpf_ktime_get_boot_ns();

	bpf_ringbuf_output(&ticks, &now, sizeof(now), 0);
	return 0;
}

char LICENSE[] SEC("license") = "GPL";
