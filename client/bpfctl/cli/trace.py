# SPDX-License-Identifier: Apache-2.0
"""`bpfctl trace`: calls of a function or hits of a tracepoint, without writing C."""

from __future__ import annotations

import contextlib
import shutil
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.parameters import Duration
from bpfctl.cli.source import collected

if TYPE_CHECKING:
    from bpfctl.sessions import Session
    from bpfctl.target import Target
    from bpfctl.trace.program import Wanted
    from bpfctl.trace.running import Trace
    from bpfctl.trace.subject import Subject

_LOOK_SECONDS = 1.0
"""How often it is looked whether a process still lives."""


@dataclass(frozen=True)
class Wishes:
    """The options, as they were typed."""

    arguments: tuple[str, ...]
    condition: str
    returns: bool
    stack: bool
    pid: int
    comm: str
    cgroup: str
    count: bool
    histogram: str
    step: int
    most: int
    duration: float
    show_source: bool


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    function = collected(function, "wishes", Wishes)
    number = click.IntRange(0)
    for option in (
        click.option(
            "--show-source", is_flag=True, help="Write the program in C; load nothing."
        ),
        click.option("--duration", type=Duration(), default=0, help="End after this time."),
        click.option("--max", "most", type=number, default=0, help="End after so many events."),
        click.option(
            "--step",
            type=number,
            default=0,
            help="Slots of the histogram are so wide [powers of two].",
        ),
        click.option(
            "--hist",
            "histogram",
            default="",
            metavar="EXPRESSION",
            help="Count by value in the kernel, draw at the end: size, duration, retval.",
        ),
        click.option("--count", is_flag=True, help="Count in the kernel, by function."),
        click.option(
            "--cgroup", default="", metavar="PATH", help="Only of this control group and below."
        ),
        click.option(
            "--comm", default="", metavar="NAME[*]", help="Only of threads called like this."
        ),
        click.option("--pid", type=number, default=0, help="Only of this process."),
        click.option("--stack", is_flag=True, help="Show who called it: kernel and user."),
        click.option(
            "--return", "returns", is_flag=True, help="Also what it returns, and when."
        ),
        click.option(
            "--if",
            "--where",
            "condition",
            default="",
            metavar="EXPRESSION",
            help="Only where this holds: 'size > 4096 and comm == \"curl\"'.",
        ),
        click.option(
            "--args",
            "arguments",
            multiple=True,
            metavar="EXPRESSION,...",
            help="What to show, not all arguments: 'port=sk->__sk_common.skc_dport, size'.",
        ),
    ):
        function = option(function)
    return function


@click.command()
@click.argument("what", metavar="FUNCTION|KIND:...")
@_options
@common_options()
@pass_invocation
def command(invocation: Invocation, what: str, wishes: Wishes) -> None:
    """Trace calls of kernel functions and user functions, or tracepoints, until Ctrl-C.

    \b
    tcp_connect                    a kernel function, else a tracepoint
    kprobe:'vfs_*'                 kernel functions; fentry: by that alone
    tracepoint:sched:sched_switch  with the fields of its record
    raw_tp:sched_switch            with the kernel's own arguments
    uprobe:/bin/bash:readline      a function of a program or library

    Arguments are told by the kernel's BTF, the tracepoint's format, the binary's DWARF.
    """
    from bpfctl import trace
    from bpfctl.facts import facts_of
    from bpfctl.trace import subject
    from bpfctl.trace.running import Trace, alive

    spec = trace.parse(what)
    with invocation.connect() as target:
        found = subject.find(target, spec)
        wanted = _wanted(target, found, wishes, spec.returns)
        if wanted.pid and not alive(target, wanted.pid):
            from bpfctl.errors import NotFound

            raise NotFound("process", str(wanted.pid))
        tracing = Trace(target, found, wanted, what)
        if wishes.show_source:
            click.echo(tracing.generated.source, nl=False)
            return
        _tell(invocation, found, tracing)
        tracing.build(facts_of(target))
        with target.session(f"bpfctl trace {what}"[:128]) as session:
            tracing.start(session)
            if found.probe.declaration:
                invocation.warn(found.probe.declaration)
            invocation.warn(_attached(found, tracing))
            with contextlib.suppress(KeyboardInterrupt):
                _show(invocation, tracing, wishes, session)
            if session.ended is not None:
                raise session.ended
            _results(invocation, tracing)
            _report(invocation, tracing)


def _wanted(target: Target, found: Subject, wishes: Wishes, returns: bool) -> Wanted:
    from bpfctl.trace import expression
    from bpfctl.trace.errors import TraceError
    from bpfctl.trace.program import Wanted

    if wishes.count and wishes.histogram:
        raise TraceError("--count", "and --hist exclude each other")
    if (wishes.count or wishes.histogram) and (wishes.arguments or wishes.stack or wishes.most):
        raise TraceError("--count", "and --hist show no events: no --args, --stack, --max")
    arguments = [part for text in wishes.arguments for part in expression.split(text)]
    return Wanted(
        mode="hist" if wishes.histogram else "count" if wishes.count else "events",
        arguments=arguments if wishes.arguments else None,
        condition=wishes.condition,
        histogram=wishes.histogram,
        step=wishes.step,
        returns=(wishes.returns or returns) and not wishes.count and not wishes.histogram,
        stack=wishes.stack,
        pid=wishes.pid,
        comm=wishes.comm,
        cgroup=_cgroup(target, wishes.cgroup) if wishes.cgroup else None,
        ring_bytes=1 << 23 if wishes.stack else 1 << 20,
    )


def _cgroup(target: Target, path: str) -> tuple[int, int]:
    """(id, depth) of a control group: the inode of its folder in the hierarchy."""
    from bpfctl.errors import InvalidArgument

    roots = [each.path for each in target.info().mounts if each.type == "cgroup2"]
    if not roots:
        raise InvalidArgument("--cgroup", "the target has no cgroup2 mounted")
    root = roots[0].rstrip("/")
    full = path if path.startswith(f"{root}/") or path == root else f"{root}/{path.strip('/')}"
    inode = target.files.stat(full).inode
    return inode, len([part for part in full[len(root) :].split("/") if part])


def _tell(invocation: Invocation, found: Subject, tracing: Trace) -> None:
    for note in found.notes:
        invocation.warn(note)
    for name, why in tracing.generated.unreadable.items():
        invocation.warn(f"{name} is not shown: {why}")


def _attached(found: Subject, tracing: Trace) -> str:
    names = found.probe.functions
    what = names[0] if len(names) == 1 else f"{len(names)} functions"
    if len(names) > 1 and found.categories:
        what = f"{len(names)} tracepoints"
    where = f" of {found.binary}" if found.binary else ""
    where += f" of module {found.module}" if found.module else ""
    how = found.probe.hook.partition(".")[0]
    methods = f" ({', '.join(tracing.methods)})" if tracing.methods else ""
    return f"tracing {what}{where} by {how}{methods}; Ctrl-C ends it"


def _show(invocation: Invocation, tracing: Trace, wishes: Wishes, session: Session) -> None:
    from bpfctl.trace.running import alive

    until = time.monotonic() + wishes.duration if wishes.duration else None
    if tracing.wanted.mode == "events":
        _show_events(invocation, tracing, wishes, until)
        return
    while until is None or time.monotonic() < until:
        left = None if until is None else max(0.0, until - time.monotonic())
        if wishes.pid:
            left = min(_LOOK_SECONDS, left) if left is not None else _LOOK_SECONDS
        if session.end.wait(left):
            return
        if wishes.pid and not alive(tracing.target, wishes.pid):
            invocation.warn(f"process {wishes.pid} has ended")
            return


def _show_events(
    invocation: Invocation, tracing: Trace, wishes: Wishes, until: float | None
) -> None:
    from bpfctl.cli.show_events import Ring
    from bpfctl.cli.show_trace import TraceWriter
    from bpfctl.trace.running import alive

    stream, reader = tracing.events()
    writer = TraceWriter(invocation, [Ring("events", stream, reader)], tagged=False)

    def look() -> None:
        if not alive(tracing.target, wishes.pid):
            invocation.warn(f"process {wishes.pid} has ended")
            stream.close()

    every = (look, _LOOK_SECONDS) if wishes.pid else None
    writer.run(count=wishes.most, until=until, every=every)
    writer.report()


def _results(invocation: Invocation, tracing: Trace) -> None:
    if tracing.wanted.mode == "count":
        counts = tracing.counts()
        rows = [{"function": name, "count": count} for name, count in counts]
        invocation.output.rows(rows, ["function", "count"])
        rest = len(tracing.probe.functions) - len(counts)
        if rest and len(tracing.probe.functions) > 1:
            invocation.warn(f"{rest} others were not hit")
        elif rest:
            invocation.warn("it was not hit")
    elif tracing.wanted.mode == "hist":
        _histogram(invocation, tracing)


def _histogram(invocation: Invocation, tracing: Trace) -> None:
    found = tracing.histogram()
    negative = tracing.negative()
    if negative:
        invocation.warn(f"{negative} values were below 0, and have no slot")
    if found is None:
        invocation.warn("there were no values")
    elif invocation.format == "table":
        from bpfctl.histograms.draw import lines

        ascii_only = not (sys.stdout.encoding or "ascii").lower().startswith("utf")
        width = shutil.get_terminal_size((100, 24)).columns
        title = f"{tracing.wanted.histogram} of {tracing.subject.spec}"
        for line in lines(found, title, width=width, ascii_only=ascii_only):
            click.echo(line)
    else:
        invocation.output.rows([found.row()])


def _report(invocation: Invocation, tracing: Trace) -> None:
    missed = tracing.missed()
    if missed:
        invocation.warn(f"{missed} hits were missed, as a program ran already on that CPU")
    if tracing.replaced():
        invocation.warn(
            f"{tracing.subject.binary} was replaced meanwhile: processes that started since run"
            " another file, and were not traced"
        )
