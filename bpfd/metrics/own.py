# SPDX-License-Identifier: Apache-2.0
"""The daemon's metrics of itself. Blocks: program statistics are asked of the kernel."""

from __future__ import annotations

import contextlib
from collections.abc import Iterable, Mapping

from bpfd import __version__
from bpfd.events import fan_out
from bpfd.kernel.info import prog_info
from bpfd.metrics.collect import Read
from bpfd.metrics.page import Own
from bpfd.objects.registry import Registry


def metrics(
    registry: Registry,
    served: Mapping[tuple[str, str], int],
    sessions: int,
    reads: Iterable[Read],
    failed: Mapping[tuple[str, str], str],
) -> list[Own]:
    """All of them. `failed`: why a metric (object, name) is not on the page."""
    runs, seconds = _programs(registry)
    left_out: dict[tuple[str, ...], float] = {
        (each.owner, each.metric.name): float(each.left_out) for each in reads if each.left_out
    }
    totals = fan_out.totals
    lost: dict[tuple[str, ...], float] = {
        (where,): float(totals[where]) for where in ("daemon", "kernel")
    }
    with registry.lock:
        held: dict[tuple[str, ...], float] = {
            ("object",): float(len(registry.objects)),
            ("link",): float(len(registry.links)),
        }
    held["session",] = float(sessions)
    calls: dict[tuple[str, ...], float] = {
        key: float(count) for key, count in list(served.items())
    }
    of_call = ("call", "outcome")
    of_metric = ("object", "metric")
    of_program = ("object", "program")
    return [
        Own(
            "bpfd_build", "gauge", "Version of the daemon.", ("version",), {(__version__,): 1.0}
        ),
        Own("bpfd_held", "gauge", "What the daemon holds.", ("kind",), held),
        Own(
            "bpfd_calls",
            "counter",
            "Calls that have ended, by outcome.",
            of_call,
            calls,
        ),
        Own(
            "bpfd_events_delivered",
            "counter",
            "Records handed to streams.",
            (),
            {(): float(totals["delivered"])},
        ),
        Own(
            "bpfd_events_lost",
            "counter",
            "Records lost: kernel, the ring was full; daemon, a stream's queue was.",
            ("where",),
            lost,
        ),
        Own(
            "bpfd_program_runs",
            "counter",
            "Runs of programs while the kernel counted them.",
            of_program,
            runs,
        ),
        Own(
            "bpfd_program_run_seconds",
            "counter",
            "Time in programs while the kernel counted it.",
            of_program,
            seconds,
            unit="seconds",
        ),
        Own(
            "bpfd_metrics_left_out",
            "gauge",
            "Entries of maps beyond the bound of a metric at this look.",
            of_metric,
            left_out,
        ),
        Own(
            "bpfd_metrics_failed",
            "gauge",
            "Metrics that could not be read at this look, and why.",
            (*of_metric, "why"),
            {(*key, why): 1.0 for key, why in failed.items()},
        ),
    ]


def _programs(
    registry: Registry,
) -> tuple[dict[tuple[str, ...], float], dict[tuple[str, ...], float]]:
    """Runs and seconds by object and program; only of those that the kernel has counted."""
    runs: dict[tuple[str, ...], float] = {}
    seconds: dict[tuple[str, ...], float] = {}
    with registry.lock:
        for held in registry.objects.values():
            for program in held.loaded.programs.values():
                with contextlib.suppress(OSError):
                    info = prog_info(program.fd)
                    if info.run_cnt:
                        runs[held.name, program.name] = float(info.run_cnt)
                        seconds[held.name, program.name] = info.run_time_ns / 1e9
    return runs, seconds
