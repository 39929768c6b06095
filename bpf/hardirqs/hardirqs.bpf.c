// SPDX-License-Identifier: GPL-2.0-only
/*
 * How often interrupt handlers run and how long, by the handler's name; soft
 * interrupts as well.
 *
 * Raw tracepoints: those of perf are skipped while another program of theirs
 * runs on the CPU, which an interrupt may well interrupt.
 */
#include "kernel.h"
#include <bpfd/histogram.h>
#include <bpfd/shown.h>

char LICENSE[] SEC("license") = "GPL";

/* Settings. */
const volatile bool soft = true;
const volatile __u32 irq = 0;
const volatile __u64 step = 0;

enum interrupt {
	HARD = 0,
	SOFT = 1,
};

#define NAME_LENGTH 32

struct handler {
	enum interrupt interrupt;
	/* Of soft interrupts the number of enum softirq. */
	__u32 number;
	char name[NAME_LENGTH];
};

/* Of the kernel's include/linux/interrupt.h, in its order and words. */
static const char softirqs[][NAME_LENGTH] = {
	"hi",	    "timer",   "net_tx", "net_rx",  "block",
	"irq_poll", "tasklet", "sched",	 "hrtimer", "rcu",
};

/*
 * Nanoseconds by handler. Written by the programs, read by user space. Per CPU:
 * all CPUs take interrupts of one name at the same time.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_HASH);
	__uint(max_entries, 512);
	__type(key, struct handler);
	__type(value, struct histogram);
} durations SEC(".maps");

/*
 * Since when the handler runs that runs on this CPU, bpf_ktime_get_ns(); 0:
 * none. By enum interrupt: a hard interrupt may interrupt a soft one, but none
 * interrupts one of its own kind. The programs' own.
 */
struct {
	__uint(type, BPF_MAP_TYPE_PERCPU_ARRAY);
	__uint(max_entries, 2);
	__type(key, __u32);
	__type(value, __u64);
} running SEC(".maps");

/* Runs that `durations` had no room for. */
LEFT_OUT(missed);

static __always_inline void begin(__u32 interrupt)
{
	__u64 *since = bpf_map_lookup_elem(&running, &interrupt);

	if (since)
		*since = bpf_ktime_get_ns();
}

/* Nanoseconds since `begin`; false: that was before the program. */
static __always_inline bool end(__u32 interrupt, __u64 *nanoseconds)
{
	__u64 *since = bpf_map_lookup_elem(&running, &interrupt);
	__u64 now = bpf_ktime_get_ns();

	if (!since || !*since)
		return false;
	*nanoseconds = now > *since ? now - *since : 0;
	*since = 0;
	return true;
}

/* Arguments: number, action. */
SEC("raw_tp/irq_handler_entry")
int hard_entered(struct bpf_raw_tracepoint_args *ctx)
{
	if (!irq || irq == ctx->args[0])
		begin(HARD);
	return 0;
}

/* Arguments: number, action, what the handler returned. */
SEC("raw_tp/irq_handler_exit")
int hard_left(struct bpf_raw_tracepoint_args *ctx)
{
	struct irqaction *action = (struct irqaction *)ctx->args[1];
	struct handler handler = { .interrupt = HARD };
	__u64 nanoseconds;

	if (!end(HARD, &nanoseconds))
		return 0;
	handler.number = ctx->args[0];
	bpf_probe_read_kernel_str(handler.name, sizeof(handler.name),
				  BPF_CORE_READ(action, name));
	histogram_add(&durations, &handler, &missed, nanoseconds, step);
	return 0;
}

/* Argument: number. */
SEC("raw_tp/softirq_entry")
int soft_entered(struct bpf_raw_tracepoint_args *ctx)
{
	if (soft && !irq)
		begin(SOFT);
	return 0;
}

SEC("raw_tp/softirq_exit")
int soft_left(struct bpf_raw_tracepoint_args *ctx)
{
	struct handler handler = { .interrupt = SOFT };
	__u64 nanoseconds;

	if (!end(SOFT, &nanoseconds))
		return 0;
	handler.number = ctx->args[0];
	if (handler.number < sizeof(softirqs) / sizeof(softirqs[0]))
		__builtin_memcpy(handler.name, softirqs[handler.number],
				 sizeof(handler.name));
	histogram_add(&durations, &handler, &missed, nanoseconds, step);
	return 0;
}
