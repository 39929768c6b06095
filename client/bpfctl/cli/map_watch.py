# SPDX-License-Identifier: Apache-2.0
"""`bpfctl map watch`: changes of a map, as they are seen."""

from __future__ import annotations

import itertools
import threading
from typing import TYPE_CHECKING, Any

import click

from bpfctl.cli.invocation import Invocation, common_options, pass_invocation
from bpfctl.cli.map import per_cpu_option, plain_option
from bpfctl.cli.parameters import Duration

if TYPE_CHECKING:
    from bpfctl.map_watch import Change

_MAP = "MAP is OBJECT/NAME, a kernel id, the path of a pin, or a name that is unique."


_COLUMNS = ("change", "key", "value")


@click.command(epilog=_MAP, context_settings={"ignore_unknown_options": True})
@click.argument("name", metavar="MAP")
@click.argument("keys", metavar="[KEY...]", nargs=-1)
@click.option("--interval", type=Duration(), default=1.0, help="Between two looks [1s].")
@click.option("--duration", type=Duration(), default=0, help="End after this time.")
@click.option("--count", type=click.IntRange(0), default=0, help="End after so many changes.")
@per_cpu_option
@plain_option
@common_options()
@pass_invocation
def watch(
    invocation: Invocation,
    name: str,
    keys: tuple[str, ...],
    interval: float,
    duration: float,
    count: int,
    per_cpu: bool,
    plain: bool,
) -> None:
    """What is in a map, then every change, until Ctrl-C; of some keys, or of all.

    Between two looks an entry may change several times: the last value is shown.
    """
    from bpfctl.output import RowStream

    with invocation.connect() as target:
        entry = target.map(name)
        entry.plain = plain
        with entry.watch(keys, interval=interval, per_cpu=per_cpu) as changes:
            timer = threading.Timer(duration, changes.close)
            if duration:
                timer.start()
            try:
                with RowStream(invocation.output, _COLUMNS, flush=True) as stream:
                    for change in itertools.islice(changes, count or None):
                        stream.write(_row(change))
            except KeyboardInterrupt:
                pass
            finally:
                timer.cancel()


def _row(change: Change) -> dict[str, Any]:
    gone = change.value is None
    row = {"change": "delete" if gone else "set", "key": change.key, "value": change.value}
    return {**row, "name": change.name}
