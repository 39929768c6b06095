/* SPDX-License-Identifier: GPL-2.0-only */
/* Writes records with times, addresses and text when a test runs it. */
#include <linux/bpf.h>
#include <linux/types.h>
#include <stddef.h>

#include <bpf/bpf_endian.h>
#include <bpf/bpf_helpers.h>

#define FORMAT(text) __attribute__((btf_decl_tag("bpfd:format=" text)))

struct answer {
	__u64 ts FORMAT("ktime");
	__u64 latency FORMAT("ns");
	__u32 pid;
	__u32 tid;
	char comm[16];
	__be32 saddr;
	__be16 dport;
	__u16 number;
};

/* Keeps the type in the BTF. */
const struct answer *unused;

/* Records of `answer_all`. */
struct {
	__uint(type, BPF_MAP_TYPE_RINGBUF);
	__uint(max_entries, 1 << 20);
} answers SEC(".maps");

__u16 written;

static long answer_one(__u32 index, void *context)
{
	struct answer *answer =
		bpf_ringbuf_reserve(&answers, sizeof(*answer), 0);
	__u64 id = bpf_get_current_pid_tgid();

	if (!answer)
		return 1;
	answer->number = written++;
	answer->ts = bpf_ktime_get_ns();
	answer->latency = 1000 * answer->number;
	answer->pid = id >> 32;
	answer->tid = id;
	bpf_get_current_comm(answer->comm, sizeof(answer->comm));
	answer->saddr = bpf_htonl(0x0a000000 | answer->number);
	answer->dport = bpf_htons(answer->number & 1 ? 443 : 80);
	bpf_ringbuf_submit(answer, BPF_RB_NO_WAKEUP);
	return 0;
}

SEC("syscall")
int answer_all(__u64 *count)
{
	return bpf_loop(*count, answer_one, NULL, 0);
}

char LICENSE[] SEC("license") = "GPL";
