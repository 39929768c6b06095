# SPDX-License-Identifier: Apache-2.0
"""Boards that lose their network or their power, and boards with too little of something."""

from __future__ import annotations

import contextlib
import threading
import time
from pathlib import Path

import pytest
from bpfctl import bootstrap, lab
from bpfctl.bootstrap.errors import BootstrapFailed
from bpfctl.config import AdbTarget, SshTarget
from bpfctl.errors import BpfctlError, TargetUnreachable
from bpfctl.target import Target

from tests.kernel.test_readme import ROOT
from tests.vm.command_line import BoardCli
from tests.vm.ready import ReadyBoard, put_daemon, switch_on, switched_on
from tests.vm.ticks import NAME, PER_SECOND, tick_object, ticking, times

GONE_SECONDS = 90
"""Longest time until a client says that its board is gone."""

FORGOTTEN_SECONDS = 200
"""Longest time until a daemon has noticed that a client is gone: two minutes of silence
(docs/design/008-idle.md), and the session's grace."""


def test_the_network_is_lost_in_the_middle_of_a_stream(
    board: ReadyBoard, facts: dict[str, object]
) -> None:
    try:
        seconds, error = _lose_the_network(board)
    finally:
        board.lab.forget_shell()
        board.lab.set_link("eth0", True)
    facts["seconds until a lost network is noticed"] = round(seconds, 1)
    assert seconds < GONE_SECONDS, error
    assert error.why
    _is_gone(board, time.monotonic() + FORGOTTEN_SECONDS)


def _lose_the_network(board: ReadyBoard) -> tuple[float, TargetUnreachable]:
    """Seconds until the stream's reader was told that the network went, and what."""
    with board.target() as target:
        session = target.session("adverse", grace=3)
        with ticking(target, session) as stream:
            ticks = times(stream)
            assert len([next(ticks) for _ in range(PER_SECOND)]) == PER_SECOND
            board.lab.set_link("eth0", False)
            begin = time.monotonic()
            with pytest.raises(TargetUnreachable) as caught:
                list(ticks)
            seconds = time.monotonic() - begin
    return seconds, caught.value


def _is_gone(board: ReadyBoard, until: float) -> None:
    """Waits until the daemon has removed what belonged to a client that vanished."""
    with board.target() as target:
        while NAME in [each.name for each in target.objects()]:
            assert time.monotonic() < until, "the session did not end"
            time.sleep(1)
        assert [link.name for link in target.links()] == []
        assert NAME not in [each.name for each in target.programs()]


def test_reset_during_an_upload(recipe: str, look: str, stage: Path) -> None:
    with switched_on(recipe, look, memory=256) as board:
        config = board.target
        assert isinstance(config, SshTarget | AdbTarget)
        fired = threading.Event()

        def reset_halfway(what: str, done: int, total: int) -> None:
            if total and done > total * 0.4 and "send" in what and not fired.is_set():
                fired.set()
                board.reset(wait=False)

        # The upload is taken up again by itself when the board is back soon enough.
        with contextlib.suppress(BpfctlError):
            bootstrap.up(board.name, config, progress=reset_halfway)
        assert fired.is_set(), "the board was not reset"
        board.wait_ready()
        up = put_daemon(board)
        assert up.info.kernel_release == board.release
        assert isinstance(up.config, SshTarget | AdbTarget)
        left = board.run(f"ls -A {up.config.home}/bundles").text.split()
        assert len(left) == 1, left


DISK = "/data/disk"
"""Where a board has a disk of its own, so that filling it does not take the board's memory."""


def _fill(board: lab.Board) -> None:
    board.run(f"dd if=/dev/zero of={DISK}/fill bs=64k")
    free = board.run(f"df -k {DISK} | tail -1").text.split()[-3]
    assert free == "0"


def test_full_disk(recipe: str, look: str, stage: Path) -> None:
    """Too little room for the bundle is said before anything is sent; then room is made."""
    with switched_on(recipe, look, memory=256) as board:
        config = board.target
        assert isinstance(config, SshTarget | AdbTarget)
        board.run(f"mkdir {DISK} && mount -t tmpfs -o size=70m tmpfs {DISK}")
        wanted = bootstrap.Wanted(home=f"{DISK}/bpfd")
        board.run(f"dd if=/dev/zero of={DISK}/fill bs=64k count=800")
        with pytest.raises(BootstrapFailed, match="MiB free") as caught:
            bootstrap.up(board.name, config, wanted)
        assert wanted.home in str(caught.value)
        assert board.run(f"ls -A {DISK}").text == "fill\n"
        board.run(f"rm {DISK}/fill")
        up = bootstrap.up(board.name, config, wanted)
        assert up.started
        assert isinstance(up.config, SshTarget | AdbTarget)
        _fill(board)
        _works_without_room(Target.open(board.name, up.config))
        board.run(f"rm {DISK}/fill")
        _works(Target.open(board.name, up.config))


def _works_without_room(target: Target) -> None:
    """A call either does what it shall or says that there is no room."""
    with target:
        try:
            _load_and_unload(target)
        except BpfctlError as error:
            why = str(error)
            assert "room" in why or "full" in why or "No space" in why, why
        assert target.info().kernel_release
        assert [each.name for each in target.objects()] == []


def _works(target: Target) -> None:
    with target:
        _load_and_unload(target)
        assert [each.name for each in target.objects()] == []


def _load_and_unload(target: Target) -> None:
    elf = tick_object(target)
    target.load(elf, NAME)
    target.attach(f"{NAME}/tick", f"perf_event:cpu-clock,frequency={PER_SECOND}")
    target.unload(NAME)


@pytest.mark.parametrize("megabytes", [96, 128])
def test_little_memory(
    recipe: str,
    look: str,
    stage: Path,
    megabytes: int,
    facts: dict[str, object],
) -> None:
    """The daemon works, or what is lacking is said before anything is put there."""
    noted = facts.setdefault("memory", {})
    assert isinstance(noted, dict)
    try:
        found = switched_on(recipe, look, memory=megabytes)
        board = found.__enter__()
    except lab.LabError as error:
        noted[f"{megabytes} MB"] = f"the kernel does not start: {error}"
        pytest.skip(f"this kernel does not start with {megabytes} MB")
    try:
        outcome = _with_little_memory(board)
    finally:
        found.__exit__(None, None, None)
    noted[f"{megabytes} MB"] = outcome


def _with_little_memory(board: lab.Board) -> str:
    why = _refusal(board)
    if why:
        assert "MiB" in why
        assert "bpfd" not in board.run("find /data /dev/shm /run /tmp -name '*bpfd*'").text
        assert "Killed process" not in board.console
        return f"refused: {why}"
    bpfctl = BoardCli(Path(), ROOT, board.name)
    bpfctl("load", "bpf/ddos")
    bpfctl("attach", "ddos/ddos", "xdp:lo,mode=generic")
    bpfctl("unload", "ddos")
    assert "Killed process" not in board.console
    return "works"


def _refusal(board: lab.Board) -> str:
    """Why the daemon was not put on the board; empty: it was."""
    try:
        put_daemon(board)
    except BootstrapFailed as error:
        return str(error)
    return ""


def test_a_clock_in_1970(recipe: str, look: str, stage: Path) -> None:
    with switch_on(recipe, look, {}, rtc="1970-01-02") as board:
        assert board.run("date -u +%Y").strip() in ("1970", "1970\n")
        bpfctl = BoardCli(Path(), ROOT, board.name)
        assert bpfctl.json("target", "info")
        bpfctl("load", "bpf/ddos")
        (found,) = [each for each in bpfctl.json("object", "list") if each["name"] == "ddos"]
        assert found
        bpfctl("unload", "ddos")
        with board.target() as target:
            _streams(target)


def _streams(target: Target) -> None:
    session = target.session("1970")
    with ticking(target, session) as stream:
        seen = [when for _, when in zip(range(20), times(stream), strict=False)]
    session.close()
    assert seen == sorted(seen)
    assert all(0 < when < 3600 * 10**9 for when in seen)
