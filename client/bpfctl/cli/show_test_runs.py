# SPDX-License-Identifier: Apache-2.0
"""What `bpfctl test-run` says of one packet, and of many."""

from __future__ import annotations

import contextlib
import itertools
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import asdict, dataclass, field
from typing import TYPE_CHECKING, Any

import click

from bpfctl.errors import BpfctlError, InvalidArgument
from bpfctl.output import cell
from bpfctl.packets.difference import DumpLine, dump_lines, fields

if TYPE_CHECKING:
    from bpfctl.cli.invocation import Invocation
    from bpfctl.cli.test_run import Wishes
    from bpfctl.map_changes import Change, Watched
    from bpfctl.packets.capture import Captured, Writer
    from bpfctl.packets.difference import FieldChange
    from bpfctl.test_runs import Outcome, TestRunner

_NOT_A_PACKET = ("flow_dissector",)
"""Types whose output is something else."""

_PCAP_HEADER = 16
"""Bytes in front of each packet in a capture."""

_SHORT = 40

_COLUMNS = ("packet", "length", "verdict", "duration_ns", "changed", "output_length", "error")


@dataclass
class Unexpected(BpfctlError):
    """--expect was not met."""

    expected: str
    found: str

    def __str__(self) -> str:
        return f"{self.expected} was expected: {self.found}"


def show_one(
    invocation: Invocation, runner: TestRunner, packet: Captured | None, wishes: Wishes
) -> None:
    """One run, in all detail."""
    _check_names(runner, wishes)
    watched = _watched(invocation, runner, wishes)
    outcome = runner.run(packet.data if packet is not None else b"")
    changes = list(watched.changes()) if watched is not None else []
    if packet is not None and wishes.write is not None:
        with _writing(wishes) as writer:
            _write(writer, outcome, packet, wishes)
    if invocation.format == "table":
        _say(runner, outcome, changes)
    else:
        invocation.output.record(_record(runner, outcome, changes, watched is not None))
    if wishes.expect and outcome.verdict != wishes.expect:
        raise Unexpected(wishes.expect, outcome.verdict)


def show_all(
    invocation: Invocation, runner: TestRunner, packets: Iterator[Captured], wishes: Wishes
) -> None:
    """Many runs: a row for each, or a table of the verdicts."""
    _check_names(runner, wishes)
    watched = _watched(invocation, runner, wishes)
    summary = Summary()
    pending, given = itertools.tee(packets)
    outcomes = runner.run_all(packet.data for packet in given)
    with contextlib.ExitStack() as stack:
        pairs = _with_progress(stack, invocation, wishes, zip(pending, outcomes, strict=False))
        writer = stack.enter_context(_writing(wishes)) if wishes.write else None
        rows = _each(runner, pairs, summary, writer, wishes)
        if invocation.format != "table":
            invocation.output.rows(rows)
        elif invocation.verbose:
            invocation.output.rows(rows, _COLUMNS)
            click.echo()
        else:
            for _ in rows:
                pass
    if invocation.format == "table" and summary.packets:
        invocation.output.rows(summary.rows())
    else:
        invocation.say(summary.line())
    _say_map_changes(invocation, list(watched.changes()) if watched else [])
    if wishes.expect and (set(summary.verdicts) != {wishes.expect} or summary.refused):
        raise Unexpected(wishes.expect, summary.line())


def _with_progress(
    stack: contextlib.ExitStack,
    invocation: Invocation,
    wishes: Wishes,
    pairs: Iterator[tuple[Captured, Outcome]],
) -> Iterator[tuple[Captured, Outcome]]:
    """Shows how much of a capture is done, unless rows that come show it."""
    quiet = invocation.format == "table" and not invocation.verbose
    if wishes.pcap is None or (sys.stdout.isatty() and not quiet):
        return pairs
    from bpfctl.cli.progress import shown

    progress = stack.enter_context(shown())
    total = wishes.pcap.stat().st_size if wishes.pcap.is_file() else 0
    name = wishes.pcap.name

    def passing() -> Iterator[tuple[Captured, Outcome]]:
        done = 0
        for packet, outcome in pairs:
            done += len(packet.data) + _PCAP_HEADER
            progress(name, min(done, total), total)
            yield packet, outcome

    return passing()


def _each(
    runner: TestRunner,
    pairs: Iterator[tuple[Captured, Outcome]],
    summary: Summary,
    writer: Writer | None,
    wishes: Wishes,
) -> Iterator[dict[str, Any]]:
    for packet, outcome in pairs:
        summary.add(outcome)
        if writer is not None:
            _write(writer, outcome, packet, wishes)
        if not wishes.only or outcome.verdict in wishes.only:
            yield {"packet": packet.number, **_row(runner, outcome)}


@dataclass
class Summary:
    """How many packets had which verdict."""

    verdicts: Counter[str] = field(default_factory=Counter)
    changed: Counter[str] = field(default_factory=Counter)
    nanoseconds: Counter[str] = field(default_factory=Counter)
    refused: Counter[str] = field(default_factory=Counter)
    """Packets that the kernel did not take, by the reason."""

    @property
    def packets(self) -> int:
        """All of them."""
        return self.verdicts.total() + self.refused.total()

    def add(self, outcome: Outcome) -> None:
        """Count one."""
        if outcome.errno:
            self.refused[outcome.error] += 1
            return
        self.verdicts[outcome.verdict] += 1
        self.changed[outcome.verdict] += outcome.changed
        self.nanoseconds[outcome.verdict] += outcome.duration_ns

    def rows(self) -> list[dict[str, Any]]:
        """Verdicts, the most frequent first; then what was refused."""
        rows = [
            {
                "verdict": name,
                "packets": count,
                "share": f"{100 * count / self.packets:.1f} %",
                "changed": self.changed[name],
                "average": f"{self.nanoseconds[name] / count:.0f} ns",
            }
            for name, count in self.verdicts.most_common()
        ]
        for why, count in self.refused.most_common():
            share = f"{100 * count / self.packets:.1f} %"
            rows.append({"verdict": f"refused: {why}", "packets": count, "share": share})
        return rows

    def line(self) -> str:
        """All in one sentence."""
        if not self.packets:
            return "no packets"
        counts = [f"{count} {name}" for name, count in self.verdicts.most_common()]
        counts += [f"{count} refused ({why})" for why, count in self.refused.most_common()]
        return f"packets: {self.packets}; {', '.join(counts)}"


def _row(runner: TestRunner, outcome: Outcome) -> dict[str, Any]:
    return {
        "length": len(outcome.packet),
        "verdict": outcome.verdict,
        "return_value": outcome.return_value,
        "duration_ns": outcome.duration_ns,
        "changed": outcome.changed,
        "output_length": len(outcome.output),
        "output": outcome.output.hex() if outcome.changed else "",
        "error": outcome.error,
    }


def _record(
    runner: TestRunner, outcome: Outcome, changes: list[Change], watched: bool
) -> dict[str, Any]:
    """One run for programs; `output` is there where it is another packet."""
    row = {
        "program": runner.program.name,
        "type": runner.type,
        **_row(runner, outcome),
        "fields": [asdict(change) for change in _fields(runner, outcome)],
        "context": {
            name: {"before": before, "after": after}
            for name, (before, after) in runner.changed_context(outcome).items()
        },
    }
    if keys := runner.flow_keys(outcome):
        row["flow_keys"] = keys
    if watched:
        row["maps"] = [asdict(change) for change in changes]
    return row


def _fields(runner: TestRunner, outcome: Outcome) -> list[FieldChange]:
    if runner.type in _NOT_A_PACKET or not outcome.changed:
        return []
    return fields(outcome.packet, outcome.output)


def _say(runner: TestRunner, outcome: Outcome, changes: list[Change]) -> None:
    """One run for people."""
    good = ("XDP_PASS", "TC_ACT_OK", "pass", "SK_PASS", "NF_ACCEPT", "BPF_OK")
    bad = ("XDP_DROP", "XDP_ABORTED", "TC_ACT_SHOT", "drop", "SK_DROP", "NF_DROP", "BPF_DROP")
    colour = "green" if outcome.verdict in good else "red" if outcome.verdict in bad else None
    number = "" if outcome.verdict.isdigit() else f" ({outcome.return_value})"
    if outcome.verdict:
        _line("verdict", click.style(outcome.verdict, fg=colour, bold=True) + number)
    repeat = runner.settings.repeat
    _line("time", f"{outcome.duration_ns} ns" + (f", mean of {repeat} runs" * (repeat > 1)))
    if outcome.packet:
        _line("packet", _packet_words(runner, outcome))
    for change in _fields(runner, outcome):
        _line("field", _field_words(change))
    for name, (before, after) in runner.changed_context(outcome).items():
        _line("context", f"{name}: {cell(before)} -> {cell(after)}")
    for map_change in changes:
        _line("map", _map_words(map_change))
    if outcome.changed and runner.type not in _NOT_A_PACKET:
        click.echo()
        for line in dump_lines(outcome.packet, outcome.output):
            click.echo(_coloured(line))
    for name, value in runner.flow_keys(outcome).items():
        if value not in (0, "0.0.0.0", "::", False):
            _line("key", f"{name} {cell(value)}")


def _line(title: str, text: str) -> None:
    click.echo(f"{title:<8} {text}")


def _packet_words(runner: TestRunner, outcome: Outcome) -> str:
    before, after = len(outcome.packet), len(outcome.output)
    if runner.settings.live_frames:
        return f"{before} bytes, sent as live frames"
    if runner.type in _NOT_A_PACKET:
        return f"{before} bytes"
    if not outcome.changed:
        return f"{before} bytes, not changed"
    if before == after:
        return f"{before} bytes, changed"
    return f"{before} -> {after} bytes"


def _field_words(change: FieldChange) -> str:
    name = f"{change.layer} {change.field}"
    if change.before is None:
        return click.style(f"+ {name}: {_short(change.after)}", fg="green")
    if change.after is None:
        return click.style(f"- {name}: {_short(change.before)}", fg="red")
    return f"  {name}: {_short(change.before)} -> {_short(change.after)}"


def _short(text: str | None) -> str | None:
    """A payload is in the dump below."""
    return text if text is None or len(text) <= _SHORT else text[:_SHORT] + "..."


def _map_words(change: Change) -> str:
    key = f"{change.map}[{cell(change.key)}]"
    if change.before is None:
        return click.style(f"+ {key} = {cell(change.after)}", fg="green")
    if change.after is None:
        return click.style(f"- {key} = {cell(change.before)}", fg="red")
    return f"  {key}: {cell(change.before)} -> {cell(change.after)}"


def _coloured(line: DumpLine) -> str:
    """A line of the dump with its changed bytes in red or green, where there is a terminal."""
    text = str(line)
    colour = "red" if line.mark == "-" else "green"
    head, first = text[:8], 8
    cells = [
        click.style(f"{byte:02x}", fg=colour, bold=True)
        if at in line.changed
        else f"{byte:02x}"
        for at, byte in enumerate(line.data)
    ]
    rest = text[first + 3 * len(line.data) - 1 :]
    return click.style(head, fg=colour) + " ".join(cells) + rest


def _watched(invocation: Invocation, runner: TestRunner, wishes: Wishes) -> Watched | None:
    if not wishes.maps:
        return None
    from bpfctl.map_changes import MAX_ENTRIES, watch

    watched = watch(runner.target, runner.program.map_ids)
    for name in watched.skipped:
        invocation.warn(f"map {name} has more than {MAX_ENTRIES} entries and is not compared")
    return watched


def _say_map_changes(invocation: Invocation, changes: list[Change]) -> None:
    for change in changes:
        invocation.say(f"map {click.unstyle(_map_words(change))}")


@contextlib.contextmanager
def _writing(wishes: Wishes) -> Iterator[Writer]:
    from bpfctl.packets.capture import writing

    assert wishes.write is not None
    with writing(wishes.write) as writer:
        yield writer


def _write(writer: Writer, outcome: Outcome, packet: Captured, wishes: Wishes) -> None:
    if not outcome.errno and (not wishes.only or outcome.verdict in wishes.only):
        writer.writepkt(outcome.output, packet.time)


def _check_names(runner: TestRunner, wishes: Wishes) -> None:
    """Raise InvalidArgument for verdicts that programs of this type cannot give."""
    from bpfctl.verdicts import known

    names = known(runner.type)
    for wanted in (*wishes.only, *([wishes.expect] if wishes.expect else [])):
        if names and wanted not in names and not wanted.lstrip("-").isdigit():
            raise InvalidArgument(
                "verdict", f"{wanted!r}: programs of type {runner.type} give {', '.join(names)}"
            )
