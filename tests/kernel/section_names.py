# SPDX-License-Identifier: Apache-2.0
"""The section names of libbpf 1.7 with something behind them where something follows.

Source: the table `section_defs` of libbpf 1.7 (in the kernel's tree, tools/lib/bpf/libbpf.c).
"""

from __future__ import annotations

_CALLS = ("connect", "sendmsg", "recvmsg", "getpeername", "getsockname")

LIBBPF = (
    *("socket", "sk_reuseport", "sk_reuseport/migrate"),
    *("kprobe/vfs_read", "kretprobe/vfs_read", "kprobe", "kretprobe"),
    *("uprobe/@:um_one", "uprobe.s/@:um_one", "uretprobe/@:um_one", "uretprobe.s/@:um_one"),
    *("kprobe.multi/vfs_rea*", "kretprobe.multi/vfs_rea*", "kprobe.session/vfs_rea*"),
    *("uprobe.multi/@:um_*", "uretprobe.multi/@:um_*", "uprobe.session/@:um_*"),
    *("uprobe.multi.s/@:um_*", "uretprobe.multi.s/@:um_*", "uprobe.session.s/@:um_*"),
    *("ksyscall/getppid", "kretsyscall/getppid"),
    *("usdt/@:bpfd:work", "usdt.s/@:bpfd:work"),
    *("tc/ingress", "tc/egress", "tcx/ingress", "tcx/egress", "tc", "classifier", "action"),
    *("netkit/primary", "netkit/peer"),
    *("tracepoint/sched/sched_process_exit", "tp/sched/sched_process_exit"),
    *("raw_tracepoint/sched_process_exit", "raw_tp/sched_process_exit"),
    *("raw_tracepoint.w/sched_process_exit", "raw_tp.w/sched_process_exit"),
    "tp_btf/sched_process_exit",
    *("fentry/vfs_read", "fmod_ret/security_file_open", "fexit/vfs_read"),
    *("fentry.s/__x64_sys_getppid", "fmod_ret.s/__x64_sys_getppid"),
    *("fexit.s/__x64_sys_getppid", "fsession/vfs_read", "fsession.s/__x64_sys_getppid"),
    "freplace/verdict",
    *("lsm/file_open", "lsm.s/file_open", "lsm_cgroup/socket_create"),
    *("iter/task", "iter.s/task", "iter/bpf_map_elem", "iter/sockmap", "iter/cgroup"),
    "syscall",
    *("xdp.frags/devmap", "xdp/devmap", "xdp.frags/cpumap", "xdp/cpumap", "xdp.frags", "xdp"),
    "perf_event",
    *("lwt_in", "lwt_out", "lwt_xmit", "lwt_seg6local"),
    *("sockops", "sk_skb/stream_parser", "sk_skb/stream_verdict", "sk_skb/verdict", "sk_skb"),
    *("sk_msg", "lirc_mode2", "flow_dissector"),
    *("cgroup_skb/ingress", "cgroup_skb/egress", "cgroup/skb"),
    *("cgroup/sock_create", "cgroup/sock_release", "cgroup/sock"),
    *("cgroup/post_bind4", "cgroup/post_bind6", "cgroup/bind4", "cgroup/bind6"),
    *(f"cgroup/{call}{end}" for call in _CALLS for end in ("4", "6", "_unix")),
    *("cgroup/sysctl", "cgroup/getsockopt", "cgroup/setsockopt", "cgroup/dev"),
    *("struct_ops/ssthresh", "struct_ops.s/ssthresh"),
    *("sk_lookup", "netfilter"),
)
"""An "@" stands for the path of a library with um_one(), um_two() and a probe bpfd:work."""

RETURNS_ONE = ("recvmsg", "getpeername", "getsockname", "lsm_cgroup", "sk_skb/stream_parser")
"""Parts of names of sections whose programs may return 1 alone, or must not return 0."""
