# SPDX-License-Identifier: Apache-2.0
"""Programs and orders that make no sense, a thousand at once, and those of others that vanish
while they are looked at."""

from __future__ import annotations

import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from bpfctl import attachpoint
from bpfctl.config import LocalTarget
from bpfctl.errors import InvalidArgument, KernelError, LimitExceeded, NotFound
from bpfctl.objects import LoadSettings
from bpfctl.target import Target

from bpfd.features import PROBES
from bpfd.kernel import syscall
from bpfd.kernel.constants import Cmd
from bpfd.v1 import common_pb2, programs_pb2
from tests.clang import CLANG
from tests.kernel.api import eventually
from tests.kernel.clang import clang, compiled
from tests.kernel.command_line import CommandLine, check_clean
from tests.kernel.conftest import RunningDaemon
from tests.kernel.hooks_support import Pair, veth_pair

pytestmark = pytest.mark.skipif(not clang(), reason="needs clang")

MAX_TAIL_CALLS = 33
"""MAX_TAIL_CALL_CNT of include/linux/bpf.h."""
THOUSAND = 1000


@pytest.fixture
def target(daemon: RunningDaemon) -> Iterator[Target]:
    """Everything of it must be gone afterwards."""
    with Target.open("daemon", LocalTarget(str(daemon.socket))) as found:
        yield found
    check_clean(daemon)


@pytest.fixture
def pair() -> Iterator[Pair]:
    with veth_pair() as found:
        yield found


def ids(target: Target, name: str) -> tuple[set[int], set[int]]:
    """Kernel ids of the programs and maps of an object."""
    message = target.object(name).message
    return {each.id for each in message.programs}, {each.id for each in message.maps}


def vanished(programs: set[int], maps: set[int]) -> bool:
    return eventually(
        lambda: (
            programs.isdisjoint(syscall.ids(Cmd.PROG_GET_NEXT_ID))
            and maps.isdisjoint(syscall.ids(Cmd.MAP_GET_NEXT_ID))
        )
    )


def run_once(target: Target, program: str) -> int:
    """The verdict of a program on a packet."""
    request = programs_pb2.TestRunRequest(program=target.program_ref(program), data=bytes(64))
    return int(target.rpc.programs.TestRun(request).return_value)


def variables(target: Target, name: str) -> list[int]:
    """(runs, ended) of the tail calls."""
    (row,) = target.map(f"{name}/.bss").rows()
    return [row["value"]["runs"], row["value"]["ended"]]


def test_a_cycle_of_tail_calls(target: Target) -> None:
    target.load(compiled("tail_calls"), "o")
    programs, maps = ids(target, "o")
    assert run_once(target, "o/first") == 0  # what the second one returns, the 34th to run
    assert variables(target, "o") == [1 + MAX_TAIL_CALLS, 1]
    target.unload("o")
    assert vanished(programs, maps), "the programs and their array hold each other"


def test_objects_whose_programs_stand_in_each_others_arrays(target: Target) -> None:
    target.load(compiled("tail_calls"), "a")
    settings = LoadSettings(reuse={"calls": "a/calls"})
    target.load(compiled("tail_calls"), "b", settings=settings)
    of_a, of_b = ids(target, "a"), ids(target, "b")
    assert of_a[1] & of_b[1]
    target.unload("a")
    assert vanished(of_a[0], of_a[1] - of_b[1])
    run_once(target, "b/first")
    assert variables(target, "b") == [1 + MAX_TAIL_CALLS, 1]
    target.unload("b")
    assert vanished(*of_b)


def test_an_iterator_without_an_end(target: Target, bpfctl: CommandLine) -> None:
    try:
        PROBES["tp_btf"].run()
    except OSError as error:
        pytest.skip(f"no iterators: {error.strerror}")
    target.load(compiled("iterators", "ENDLESS"), "o")
    target.attach("o/program", "iterator", name="o/endless")
    with pytest.raises(LimitExceeded, match="does the program return 1"):
        list(target.read_link("o/endless"))
    target.unload("o")
    (bpfctl.folder / "endless.o").write_bytes(compiled("iterators", "ENDLESS"))
    bpfctl.run("run", "endless.o").refused(8, "without a byte", context=True)


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("tcx:hk0,ingress,before_program=1,after_program=2", "beside another place"),
        ("tcx:hk0,ingress,first,after_link=2", "beside another place"),
        ("tcx:hk0,ingress,egress", "egress and ingress exclude each other"),
        ("netkit:nk0,before_link=1,before_program=1", "beside another place"),
    ],
)
def test_texts_that_contradict_themselves(text: str, says: str) -> None:
    with pytest.raises(attachpoint.InvalidAttachPoint, match=says):
        attachpoint.parse(text)


def test_orders_that_contradict_what_is_there(target: Target, pair: Pair) -> None:
    try:
        PROBES["tcx link"].run()
    except OSError as error:
        pytest.skip(f"no tcx: {error.strerror}")
    target.load(compiled("hooks"), "o")
    where = f"tcx:hk0,ingress,netns={pair.near}"
    first = target.attach("o/tc_count", where, name="o/a")
    link, program = first.link_ids[0], first.program_id
    with pytest.raises(InvalidArgument, match="order"):
        target.attach("o/tc_drop", f"clsact:hk0,ingress,netns={pair.near},before_link={link}")
    with pytest.raises(NotFound, match="not attached to"):  # it is on the other direction
        target.attach("o/tc_drop", where.replace("ingress", f"egress,after_link={link}"))
    with pytest.raises((KernelError, InvalidArgument), match=r"revision|changed"):
        target.attach("o/tc_drop", f"{where},revision=4711")
    with pytest.raises(InvalidArgument, match="ids start at 1"):
        target.attach("o/tc_drop", f"{where},before_program=0")
    second = target.attach("o/tc_drop", f"{where},before_program={program}", name="o/b")
    target.detach("o/a")
    with pytest.raises(NotFound):
        target.attach("o/tc_count", f"{where},before_link={link}")
    target.attach("o/tc_count", f"{where},after_link={second.link_ids[0]}", name="o/c")
    for member, point, fits in (
        ("xdp_count", where, "type xdp, and tc takes sched_cls"),
        ("tc_count", "xdp:lo", "type sched_cls, and xdp takes xdp"),
        ("tc_count", "tracepoint:sched/sched_switch", "tracepoint takes tracepoint"),
    ):
        with pytest.raises(InvalidArgument, match=fits):
            target.attach(f"o/{member}", point)
    assert target.unload("o") == ["o/b", "o/c"]


@pytest.fixture(scope="module")
def thousand(tmp_path_factory: pytest.TempPathFactory) -> bytes:
    """An object with so many programs, each with a name of its own."""
    folder = tmp_path_factory.mktemp("thousand")
    lines = ["#include <linux/bpf.h>", "#include <bpf/bpf_helpers.h>", "__u64 runs;"]
    lines += [
        f'SEC("raw_tp/bpf_test_finish") int p{index}(void *c) {{ runs += {index}; return 0; }}'
        for index in range(THOUSAND)
    ]
    lines.append('char LICENSE[] SEC("license") = "GPL";')
    (folder / "t.bpf.c").write_text("\n".join(lines))
    words = [CLANG, "-g", "-O2", "-target", "bpf", "-I/usr/include/x86_64-linux-gnu"]
    subprocess.run([*words, "-c", "t.bpf.c", "-o", "t.bpf.o"], check=True, cwd=folder)
    return (folder / "t.bpf.o").read_bytes()


def resident(pid: int) -> int:
    """MB of memory of a process."""
    (line,) = [
        line
        for line in Path(f"/proc/{pid}/status").read_text().splitlines()
        if line.startswith("VmRSS")
    ]
    return int(line.split()[1]) // 1024


def test_a_thousand_programs_at_once(
    target: Target, daemon: RunningDaemon, thousand: bytes
) -> None:
    before = resident(daemon.pid)
    began = time.monotonic()
    loaded = target.load(thousand, "o")
    took = time.monotonic() - began
    programs, maps = ids(target, "o")
    assert len(programs) == THOUSAND
    assert len([each for each in target.programs() if each.object == "o"]) == THOUSAND
    began = time.monotonic()
    for index in range(100):
        loaded.attach(f"p{index}", "raw_tracepoint:bpf_test_finish")
    attaching = time.monotonic() - began
    grown = resident(daemon.pid) - before
    # Names, pins and one fd each; 2 MB were measured.
    assert grown < 40, f"{grown} MB"
    began = time.monotonic()
    assert len(target.unload("o")) == 100
    print(
        f"{THOUSAND} programs: loaded in {took:.2f} s, 100 attached in {attaching:.2f} s, "
        f"unloaded in {time.monotonic() - began:.2f} s, {grown} MB"
    )
    assert vanished(programs, maps)


CHURN = """
import os, struct, sys
from bpfd.kernel import syscall
from bpfd.kernel.constants import MapType, ProgType
code = struct.pack("=BBhi", 0xb7, 0, 0, 0) + struct.pack("=BBhi", 0x95, 0, 0, 0)
print(1, flush=True)
while True:
    table = syscall.map_create(MapType.ARRAY, 4, 8, 1, name="churned")
    program = syscall.prog_load(ProgType.RAW_TRACEPOINT, code, "GPL", name="churned")
    link = syscall.raw_tracepoint_open("bpf_test_finish", program)
    for fd in (link, program, table):
        os.close(fd)
"""


@contextmanager
def churned() -> Iterator[None]:
    """Somebody else's programs, maps and links come and go some thousand times a second."""
    process = subprocess.Popen([sys.executable, "-c", CHURN], stdout=subprocess.PIPE)
    with process:
        assert process.stdout is not None
        process.stdout.readline()
        try:
            yield
        finally:
            process.kill()


def test_what_vanishes_while_it_is_looked_at(target: Target) -> None:
    seen = missed = 0
    with churned(), target.session("looking") as session:
        until = time.monotonic() + 1.5
        while time.monotonic() < until:
            for program in target.programs(owners=True):
                if program.name != "churned":
                    continue
                seen += 1
                missed += look_at(target, program.id)
                try:
                    point = "raw_tracepoint:bpf_test_finish"
                    target.detach(target.attach(program.id, point, session=session).name)
                except NotFound:
                    missed += 1
            target.maps(owners=True)
            target.all_links()
    print(f"{seen} seen, {missed} gone meanwhile")
    assert seen
    assert missed


def look_at(target: Target, number: int) -> int:
    """How much of one program could not be seen any more."""
    missed = 0
    reference = common_pb2.ProgramRef(id=number)
    dump = programs_pb2.DumpProgramRequest(program=reference)
    for look in (
        lambda: target.program(number),
        lambda: target.rpc.call(target.rpc.programs.Dump, dump, "Programs.Dump"),
    ):
        try:
            look()
        except NotFound:
            missed += 1
    return missed
