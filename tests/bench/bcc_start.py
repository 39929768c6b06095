# SPDX-License-Identifier: Apache-2.0
"""The program of switches.bpf.c as a bcc script, up to the point where it is attached."""

from bcc import BPF  # type: ignore[import-not-found]

TEXT = """
BPF_ARRAY(switches, u64, 1);

RAW_TRACEPOINT_PROBE(sched_switch)
{
    if (bpf_get_current_pid_tgid() >> 32 == 1)
        switches.increment(0);
    return 0;
}
"""

if __name__ == "__main__":
    bpf = BPF(text=TEXT)
    print("attached", flush=True)
