# SPDX-License-Identifier: Apache-2.0
"""`bpfctl events`: what programs write into a ring buffer or perf buffer."""

from __future__ import annotations

import time

import click

from bpfctl.cli.event_output import FORMATS, event_options
from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.parameters import Duration


@click.command()
@click.argument("name", metavar="MAP")
@click.option("--count", type=click.IntRange(0), default=0, help="End after so many events.")
@click.option("--duration", type=Duration(), default=0, help="End after this time.")
@click.option("--type", "type_name", default="", metavar="STRUCT", help="Type of the records.")
@click.option("--lost", "lost_map", metavar="MAP", help="Map that counts records lost.")
@click.option("--plain", is_flag=True, help="Numbers where addresses would be shown.")
@event_options
@common_options(formats=FORMATS)
@pass_invocation
def command(
    invocation: Invocation,
    name: str,
    count: int,
    duration: float,
    type_name: str,
    lost_map: str | None,
    plain: bool,
    where: str,
    path: str | None,
) -> None:
    """Show the events of a ring buffer or perf buffer, until Ctrl-C.

    MAP is OBJECT/NAME, a kernel id, the path of a pin, or a name that is unique. The type
    of the records is looked for in the object's BTF: a struct with the map's name, the one
    that a variable such as `const struct event *unused;` keeps, or struct event. Losses
    are reported on standard error at the end.

    -o parquet and -o perfetto write files for other programs (pandas, DuckDB; ui.perfetto.dev)
    and need the extra "export".
    """
    from bpfctl.cli.event_output import destination
    from bpfctl.cli.show_events import EventWriter, Ring
    from bpfctl.records import reader

    with destination(invocation, path) as exporter, invocation.connect() as target:
        ring = target.map(name)
        read = reader(ring, type_name, plain=plain, where=where)
        stream = target.events(ring.ref, lost_map=lost_map)
        rings = [Ring(name, stream, read)]
        if exporter is not None:
            exporter.begin(target, rings)
        writer = EventWriter(invocation, rings, tagged=False, exporter=exporter)
        try:
            writer.run(count=count, until=time.monotonic() + duration if duration else None)
        finally:
            writer.report()
