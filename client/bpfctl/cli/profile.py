# SPDX-License-Identifier: Apache-2.0
"""`bpfctl profile`: where CPUs spend their time, and where threads wait."""

from __future__ import annotations

import sys
import time
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.lazy import Entry, LazyGroup
from bpfctl.cli.parameters import Duration
from bpfctl.cli.source import collected

if TYPE_CHECKING:
    from collections.abc import Callable
    from pathlib import Path

    from bpfctl.profiles.collect import Collector
    from bpfctl.profiles.model import Profile
    from bpfctl.profiles.wish import Event, Per, Unwind, Wish

_COLUMNS = ("self", "self_percent", "total", "total_percent", "function", "module")
_DEFAULT_SECONDS = 30.0
_LOOK_SECONDS = 0.25
"""Between two looks at whether it is over."""


@dataclass(frozen=True)
class Options:
    """What `_options` collects."""

    frequency: int
    seconds: float | None
    pids: tuple[int, ...]
    follow: bool
    cgroup: str
    comm: str
    off_cpu: bool
    shortest: float
    longest: float
    idle: bool
    event: str
    kernel_only: bool
    user_only: bool
    unwind: str
    per: str
    live: bool
    count: int
    output: Path | None

    def wish(self) -> Wish:
        """These options for the library; raises UsageError and InvalidArgument."""
        from bpfctl.profiles.wish import Wish

        if self.kernel_only and self.user_only:
            raise click.UsageError("--kernel-only and --user-only exclude each other")
        if (self.shortest or self.longest) and not self.off_cpu:
            raise click.UsageError("--min and --max are of --off-cpu")
        return Wish(
            off_cpu=self.off_cpu,
            frequency=self.frequency,
            event=cast("Event", self.event),
            pids=self.pids,
            follow=self.follow,
            cgroup=self.cgroup,
            comm=self.comm,
            idle=self.idle,
            kernel=not self.user_only,
            user=not self.kernel_only,
            unwind=cast("Unwind", self.unwind),
            per=cast("Per", self.per),
            min_ns=round(self.shortest * 1e9),
            max_ns=round(self.longest * 1e9),
        )


_ROWS = ("table", "json", "jsonl", "yaml", "csv")


def _output(context: click.Context, parameter: click.Parameter, value: str | None) -> Any:
    """The file, or None when rows are wanted."""
    if value is None:
        return None
    if value in _ROWS:
        context.ensure_object(Invocation).take(None, value, False)
        return None
    from pathlib import Path

    from bpfctl.errors import InvalidArgument
    from bpfctl.profiles import files

    try:
        files.format_of(Path(value))
    except InvalidArgument:
        raise click.BadParameter(
            f"{value!r} is neither one of {', '.join(_ROWS)} nor a file that ends in"
            f" {files.NAMES}"
        ) from None
    return Path(value)


def _options(function: Callable[..., Any]) -> Callable[..., Any]:
    function = collected(function, "options", Options)
    for option in (
        click.option(
            "-o",
            "--output",
            metavar="FILE|FORMAT",
            callback=_output,
            help="A file that ends in .html, .svg, .folded, .pb.gz or .perfetto; or how the"
            " functions are listed: table, json, jsonl, yaml, csv [table].",
        ),
        click.option(
            "-n", "--count", type=click.IntRange(1), default=20, help="Functions listed [20]."
        ),
        click.option("--live", is_flag=True, help="Show the hottest functions as it goes on."),
        click.option(
            "--per",
            type=click.Choice(["process", "thread", "comm"]),
            default="process",
            help="What is kept apart [process].",
        ),
        click.option(
            "--unwind",
            type=click.Choice(["auto", "tables", "frame-pointers"]),
            default="auto",
            help="How user stacks are walked: by tables of the binaries, where the processor"
            " is known, or by frame pointers [auto].",
        ),
        click.option("--user-only", is_flag=True, help="Stacks of user space alone."),
        click.option("--kernel-only", is_flag=True, help="Stacks of the kernel alone."),
        click.option(
            "--event",
            type=click.Choice(["auto", "cycles", "cpu-clock"]),
            default="auto",
            help="What samples: the hardware's counter or the kernel's timers [auto].",
        ),
        click.option("--idle", is_flag=True, help="Also CPUs with nothing to do."),
        click.option("--max", "longest", type=Duration(), default=0, help="No longer waits."),
        click.option("--min", "shortest", type=Duration(), default=0, help="No shorter waits."),
        click.option("--off-cpu", is_flag=True, help="Time that threads wait, not CPU time."),
        click.option("--comm", default="", metavar="NAME", help="Only these by name."),
        click.option("--cgroup", default="", metavar="FOLDER", help="Only this, and below it."),
        click.option("--follow", is_flag=True, help="Also children that --pid starts."),
        click.option(
            "--pid",
            "pids",
            type=click.IntRange(1),
            multiple=True,
            help="Only this process with its threads; its number in the first pid namespace.",
        ),
        click.option(
            "-d",
            "--duration",
            "seconds",
            type=Duration(),
            help="How long [30s; with --live until Ctrl-C]. Ctrl-C ends it with what is there.",
        ),
        click.option(
            "-F", "--frequency", type=int, default=99, help="Samples a second and CPU [99]."
        ),
    ):
        function = option(function)
    return function


@click.command(
    cls=LazyGroup,
    entries={
        "diff": Entry("profile_files", "What became more and what less: two profiles.", "diff"),
        "convert": Entry("profile_files", "Write a profile in another format.", "convert"),
    },
    invoke_without_command=True,
    subcommand_metavar="[diff|convert]",
)
@_options
@common_options(output=False)
@pass_invocation
def command(invocation: Invocation, options: Options) -> None:
    """Sample what the CPUs of a target run, or add up where threads wait.

    Kernel and user stacks are counted in the kernel; functions get their names here. The
    functions with most of their own are listed, or with -o FILE all is written: as a flame
    graph (.html with search and zoom, .svg), or for other tools (.folded, .pb.gz, .perfetto).
    What was missed is said.
    """
    if click.get_current_context().invoked_subcommand is not None:
        return
    wish = options.wish()
    if options.output is not None:
        from bpfctl.profiles import files

        files.check(options.output)
    seconds = options.seconds
    if seconds is None and not options.live:
        seconds = _DEFAULT_SECONDS
    with invocation.connect() as target:
        from bpfctl.profiles.collect import Collector
        from bpfctl.profiles.resolve import finished
        from bpfctl.symbols import Symbolizer

        with Symbolizer(target) as symbols:
            with Collector(target, wish) as collector:
                if collector.note:
                    invocation.warn(f"sampling by {collector.event}: {collector.note}")
                with suppress(KeyboardInterrupt):
                    if options.live:
                        from bpfctl.cli.show_profile import live

                        live(collector, symbols, seconds, options.count)
                    else:
                        _wait(collector, seconds)
                collector.stop()
            if invocation.verbose:
                for path, why in collector.without_tables.items():
                    invocation.warn(f"{path}: walked by frame pointers: {why}")
            profile = finished(collector, symbols)
        if options.output is not None:
            files.write(profile, options.output)
            invocation.say(f"written: {options.output}")
            said(invocation, profile)
        else:
            _show(invocation, profile, options.count)


def _wait(collector: Collector, seconds: float | None) -> None:
    """Until the time is over, Ctrl-C, or the reading failed; with progress at a terminal."""
    began = time.monotonic()
    with _progress(seconds) as tell:
        while True:
            passed = time.monotonic() - began
            left = _LOOK_SECONDS if seconds is None else seconds - passed
            if left <= 0 or collector.ended.wait(min(_LOOK_SECONDS, left)):
                return
            tell(min(passed, seconds or passed), collector.counted.samples)


class _progress:
    """A bar on standard error, where that is a terminal."""

    def __init__(self, seconds: float | None) -> None:
        self._seconds = seconds
        self._bar: Any = None

    def __enter__(self) -> Callable[[float, int], None]:
        if not sys.stderr.isatty():
            return lambda passed, samples: None
        from rich.console import Console
        from rich.progress import BarColumn, Progress, TextColumn

        self._bar = Progress(
            TextColumn("{task.description}"),
            BarColumn(),
            TextColumn("{task.completed:.0f} of {task.total:.0f} s; Ctrl-C ends it"),
            console=Console(file=sys.stderr),
            transient=True,
        )
        self._bar.start()
        task = self._bar.add_task("profile", total=self._seconds)

        def tell(passed: float, samples: int) -> None:
            self._bar.update(task, completed=passed, description=f"profile: {samples} samples")

        return tell

    def __exit__(self, *_: object) -> None:
        if self._bar is not None:
            self._bar.stop()


def _show(invocation: Invocation, profile: Profile, count: int) -> None:
    from bpfctl.cli.show_profile import rows

    found = rows(profile.samples, count, people=invocation.format == "table")
    invocation.output.rows(found, _COLUMNS)
    said(invocation, profile)


def said(invocation: Invocation, profile: Profile) -> None:
    """How much it is and what was missed, on standard error."""
    invocation.warn(f"{profile.title}: {summary(profile)}")
    for reason, number in profile.missed.items():
        invocation.warn(f"missed: {number} {reason}")


def summary(profile: Profile) -> str:
    """How much it is, and of how long."""
    from bpfctl.cli.show_top import duration

    total = sum(sample.value for sample in profile.samples)
    amount = duration(total) if profile.unit == "nanoseconds" else f"{total} {profile.unit}"
    return f"{amount} in {profile.duration_s:.1f} s"
