# SPDX-License-Identifier: Apache-2.0
"""Programs that this kernel's verifier refuses, shown at their source line."""

from __future__ import annotations

import hashlib
import os
import shutil
import subprocess
from pathlib import Path

import pytest
from bpfctl import verifier
from bpfctl.build import TargetFacts, build
from bpfctl.elf import ObjectFile

from tests.clang import CLANG

BPFTOOL = shutil.which("bpftool", path="/usr/bin:/usr/sbin:/sbin")
KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(BPFTOOL is None, reason="needs bpftool"),
    pytest.mark.skipif(not KERNEL_BTF.exists(), reason="needs a kernel with BTF"),
    pytest.mark.skipif(not CLANG, reason="needs clang"),
]

HEAD = """\
#include "vmlinux.h"
#include <bpf/bpf_core_read.h>
#include <bpf/bpf_helpers.h>

char LICENSE[] SEC("license") = "GPL";

struct {
	__uint(type, BPF_MAP_TYPE_HASH);
	__uint(max_entries, 8);
	__type(key, __u32);
	__type(value, __u64);
} counts SEC(".maps");

struct task_struct___other {
	int no_such_field;
} __attribute__((preserve_access_index));

static __noinline int count(__u32 key)
{
	__u64 *value = bpf_map_lookup_elem(&counts, &key);

	return *value; /* in a function */
}

"""

CASES = {
    "null": ("*value += 1;", "test it before it is used", "map_value_or_null"),
    "packet": ("return eth->h_proto", "compare with data_end", "invalid access to packet"),
    "scalar": ("return *(int *)number;", "BPF_CORE_READ()", "invalid mem access"),
    "helper": ("return bpf_skb_load_bytes", "not for programs of this type", "skb_load_bytes"),
    "endless": ("for (;;)", "constant bound", "infinite loop"),
    "function": ("/* in a function */", "test it before it is used", "map_value_or_null"),
    "field": (
        "return BPF_CORE_READ",
        "bpf_core_field_exists()",
        "no struct task_struct.no_such_field",
    ),
}

BODIES = {
    "null": """
	__u32 key = 0;
	__u64 *value = bpf_map_lookup_elem(&counts, &key);

	*value += 1;
	return XDP_DROP;""",
    "packet": """
	struct ethhdr *eth = (void *)(long)ctx->data;

	return eth->h_proto == 8 ? XDP_DROP : XDP_PASS;""",
    "scalar": """
	__u64 number = bpf_ktime_get_ns();

	return *(int *)number;""",
    "helper": """
	__u32 word;

	return bpf_skb_load_bytes(ctx, 0, &word, 4);""",
    "endless": """
	for (;;)
		asm volatile("");
	return XDP_PASS;""",
    "function": """
	return count(ctx->ingress_ifindex);""",
    "field": """
	struct task_struct___other *task = (void *)bpf_get_current_task();

	return BPF_CORE_READ(task, no_such_field);""",
}


@pytest.mark.parametrize("name", list(CASES))
def test_the_refusal_is_shown_at_its_line(
    name: str,
    tmp_path: Path,
    tmp_path_factory: pytest.TempPathFactory,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.chdir(tmp_path)
    cache = tmp_path_factory.getbasetemp() / "build-cache"
    monkeypatch.setenv("BPFCTL_CACHE_DIR", str(cache))
    kernel = KERNEL_BTF.read_bytes()
    facts = TargetFacts(os.uname().machine, False, 64, hashlib.sha256(kernel).hexdigest())
    text = f'{HEAD}SEC("xdp")\nint refused(struct xdp_md *ctx)\n{{{BODIES[name]}\n}}\n'
    Path("refused.bpf.c").write_text(text)
    built = build("refused.bpf.c", facts, lambda: kernel)
    log = refuse(built.path)
    wanted, advice, reason = CASES[name]
    number = next(n for n, line in enumerate(text.splitlines(), 1) if wanted in line)
    for shown in (log, without_places(log)):
        found = verifier.explain("refused", shown, ObjectFile.parse(built.object))
        assert (found.file, found.line) == ("refused.bpf.c", number), shown
        assert wanted in found.source_text
        assert found.column > 0
        assert reason in found.message
        assert advice in found.advice
        assert found.function == ("count" if name == "function" else "refused")


def refuse(path: Path) -> str:
    """The verifier's log of an object that must not load."""
    pin = Path("/sys/fs/bpf/build-refused")
    assert BPFTOOL is not None
    try:
        done = subprocess.run(
            [BPFTOOL, "prog", "load", str(path), str(pin)], capture_output=True, text=True
        )
    finally:
        pin.unlink(missing_ok=True)
    assert done.returncode, "the verifier took it"
    begin, end = "-- BEGIN PROG LOAD LOG --\n", "-- END PROG LOAD LOG --"
    return done.stderr.partition(begin)[2].partition(end)[0]


def without_places(log: str) -> str:
    """The log as kernels before 6.9 write it: source text without file and line."""
    lines = [
        line.rpartition(" @ ")[0] if line.startswith("; ") and " @ " in line else line
        for line in log.splitlines()
    ]
    return "\n".join(lines) + "\n"
