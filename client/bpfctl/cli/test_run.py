# SPDX-License-Identifier: Apache-2.0
"""`bpfctl test-run`: a program, packets, and what it does to them."""

from __future__ import annotations

import contextlib
import os
import sys
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.source import (
    BuildSettings,
    SettingTexts,
    build_options,
    collected,
    setting_options,
)

if TYPE_CHECKING:
    from bpfctl.packets.capture import Captured
    from bpfctl.target import Target
    from bpfd.v1 import common_pb2


@dataclass(frozen=True)
class Wishes:
    """What goes in, how it is run, and what is shown."""

    hex: tuple[str, ...]
    pcap: Path | None
    packet: str
    scapy: tuple[str, ...]
    context: tuple[str, ...]
    repeat: int
    netns: str
    on_cpu: int | None
    live: bool
    batch_size: int
    maps: bool
    write: Path | None
    only: tuple[str, ...]
    expect: str | None

    @property
    def one_packet(self) -> bool:
        """Whether these are words for one packet, or for a run without any."""
        files = 0 if self.pcap is None else 1 if self.packet.isdigit() else 2
        return files + len(self.hex) + len(self.scapy) <= 1


def _wish_options(function: Callable[..., Any]) -> Callable[..., Any]:
    function = collected(function, "wishes", Wishes)
    for option in (
        click.option(
            "--expect", metavar="VERDICT", help="Fail (exit code 1) where a verdict is another."
        ),
        click.option(
            "--only",
            multiple=True,
            metavar="VERDICT",
            help="Show and write only packets with this verdict, as XDP_PASS.",
        ),
        click.option(
            "--write",
            type=click.Path(dir_okay=False, path_type=Path),
            metavar="OUT.pcap",
            help="Write the packets, as they are behind the run, to a file.",
        ),
        click.option("--maps", is_flag=True, help="Say which entries of its maps changed."),
        click.option(
            "--batch-size", type=click.IntRange(0, 256), default=0, help="With --live: at once."
        ),
        click.option(
            "--live", is_flag=True, help="XDP: frames really leave, --repeat of them."
        ),
        click.option(
            "--on-cpu",
            type=click.IntRange(0),
            metavar="CPU",
            help="Raw tracepoints: run there.",
        ),
        click.option(
            "--netns", default="", metavar="NAME|PATH", help="Run in this network namespace."
        ),
        click.option(
            "--repeat", type=click.IntRange(1, 2**31), default=1, help="Times to run [1]."
        ),
        click.option(
            "--ctx",
            "context",
            multiple=True,
            metavar="FIELD=VALUE",
            help="Field of the context, as mark=7, arg0=1; or all of it: hex:0011...",
        ),
        click.option(
            "--scapy", multiple=True, metavar="EXPRESSION", help="Packets as scapy writes them."
        ),
        click.option("--packet", default="all", help="Of the file: all, 7, 7-9 or 7- [all]."),
        click.option(
            "--pcap",
            type=click.Path(path_type=Path),
            metavar="FILE",
            help="Packets of a capture, pcap or pcapng.",
        ),
        click.option(
            "--hex",
            "hex",
            multiple=True,
            metavar="DIGITS|@FILE|-",
            help="A packet in hexadecimal digits, or a hex dump; - is standard input.",
        ),
    ):
        function = option(function)
    return function


@click.command()
@click.argument("subject", metavar="PROGRAM|FILE|PACKAGE")
@click.argument("member", metavar="[NAME]", required=False)
@_wish_options
@setting_options
@build_options
@common_options()
@pass_invocation
def command(
    invocation: Invocation,
    subject: str,
    member: str | None,
    wishes: Wishes,
    settings: SettingTexts,
    build: BuildSettings,
) -> None:
    """Run a program with packets: its verdict, what it changed, and how long it took.

    The program is OBJECT/NAME, a kernel id, the path of a pin, or a name that is unique; of a
    file or a package (a path: ./bpf/ddos) it is loaded for this and gone afterwards, and NAME
    says which where there are several. Nothing is sent anywhere, but maps are changed as by
    any run. Packets begin with their Ethernet header, whatever the type of the program.
    """
    from bpfctl.cli.show_test_runs import show_all, show_one
    from bpfctl.test_runs import Settings, TestRunner

    packets = _packets(wishes)
    with invocation.connect() as target, contextlib.ExitStack() as stack:
        program = stack.enter_context(
            _program(invocation, target, subject, member, settings, build)
        )
        how = Settings(
            wishes.repeat, wishes.netns, wishes.on_cpu, wishes.live, wishes.batch_size
        )
        runner = TestRunner(target, program, how, wishes.context)
        runner.check(packets is not None)
        if packets is not None and not wishes.one_packet:
            show_all(invocation, runner, packets, wishes)
            return
        found = list(packets or ())
        if len(found) > 1:
            show_all(invocation, runner, iter(found), wishes)
        else:
            show_one(invocation, runner, found[0] if found else None, wishes)


@contextlib.contextmanager
def _program(
    invocation: Invocation,
    target: Target,
    subject: str,
    member: str | None,
    settings: SettingTexts,
    build: BuildSettings,
) -> Iterator[common_pb2.KernelProgram]:
    """A loaded program, or one that is loaded in a session for the time of the `with`."""
    if not _is_source(target, subject):
        if member is not None:
            raise click.UsageError(f"{subject} is no file or package: say {subject}/{member}")
        yield target.program(subject, owners=False)
        return
    from bpfctl.cli.failures import with_object
    from bpfctl.cli.source import MAX_NAME, load_settings, make

    made = make(invocation, target, subject, build)
    name = f"{made.name[: MAX_NAME - 20]}-test-{os.getpid()}"
    with target.session(f"bpfctl test-run {subject}"[:128]) as session:
        with with_object(made.elf):
            loaded = target.load(
                made.elf, name, session=session, settings=load_settings(made, settings)
            )
        chosen = _chosen(list(loaded.programs), member, subject)
        yield target.program(f"{name}/{chosen}", owners=False)


def _is_source(target: Target, subject: str) -> bool:
    """A path that exists or ends as sources do; a bare name of a package alone."""
    from bpfctl.errors import NotFound

    path = Path(subject)
    if subject.endswith((".c", ".o")) or path.is_file() or (path / "package.toml").is_file():
        return True
    from bpfctl.package import packages

    if "/" in subject or subject not in {folder.name for folder in packages()}:
        return False
    try:
        target.program_ref(subject)
    except NotFound:
        return True
    return False


def _chosen(programs: list[str], member: str | None, subject: str) -> str:
    from bpfctl.errors import InvalidArgument, NotFound

    if member is not None:
        if member not in programs:
            raise NotFound("program", member, hint=f"{subject} has {', '.join(programs)}")
        return member
    if len(programs) != 1:
        raise InvalidArgument(
            "program", f"{subject} has {', '.join(programs) or 'none'}: say which, behind it"
        )
    return programs[0]


def _packets(wishes: Wishes) -> Iterator[Captured] | None:
    """Packets of all sources, read as they are needed; None: none is given."""
    if wishes.packet != "all" and wishes.pcap is None:
        raise click.UsageError("--packet belongs to --pcap")
    if wishes.hex.count("-") > 1:
        raise click.UsageError("standard input holds one packet")
    if not (wishes.hex or wishes.scapy or wishes.pcap):
        if wishes.write:
            raise click.UsageError("--write has no packets to write")
        return None
    if wishes.live and not wishes.one_packet:
        raise click.UsageError("--live takes one packet, and --repeat")
    return _read(wishes)


def _read(wishes: Wishes) -> Iterator[Captured]:
    from bpfctl.packets import capture, expression, hextext

    number = 0
    for text in wishes.hex:
        number += 1
        yield capture.Captured(number, 0.0, hextext.parse(_text(text)))
    for text in wishes.scapy:
        for data in expression.frames(text):
            number += 1
            yield capture.Captured(number, 0.0, data)
    if wishes.pcap is not None:
        choice = capture.Choice.parse(wishes.packet)
        for packet in choice.of(capture.read(wishes.pcap)):
            yield capture.Captured(number + packet.number, packet.time, packet.data)


def _text(given: str) -> str:
    """Hexadecimal digits themselves, of a file, or of standard input."""
    from bpfctl.errors import InvalidArgument

    if given == "-":
        return sys.stdin.read()
    if not given.startswith("@"):
        return given
    try:
        return Path(given[1:]).read_text(encoding="utf-8", errors="replace")
    except OSError as error:
        raise InvalidArgument("--hex", f"{given[1:]}: {error.strerror}") from None
