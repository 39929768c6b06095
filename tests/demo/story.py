# SPDX-License-Identifier: Apache-2.0
"""The run, step by step."""

from __future__ import annotations

from contextlib import ExitStack, closing
from pathlib import Path

from tests.demo import connections, console, filtering, leftovers, swapping
from tests.demo.outcome import Outcome, expect
from tests.demo.stage import Stage
from tests.demo.traffic import Receiver


def tell(folder: Path) -> Outcome:
    """Do all of it; what was made is gone when this returns or raises.

    `folder` is for all files of the run, and is removed by the caller. Raises Deviation when
    anything is not as it must be.
    """
    before = leftovers.look()
    with ExitStack() as cleaning:
        stage = Stage(folder, cleaning)
        stage.set()
        filtering.deploy(stage)
        with closing(Receiver(stage.place)) as receiver:
            filtering.send_packets(stage, receiver)
            swapping.swap(stage, receiver)
        connections.follow(stage)
        remove(stage, before)
    return stage.outcome


def remove(stage: Stage, before: set[tuple[str, int]]) -> None:
    console.heading("6. Remove everything, and look for what is left")
    stage.bpfctl("unload", "tcplife")
    stage.bpfctl("unload", "ddos")
    expect("objects of the daemon", stage.bpfctl.json("object", "list"), [])
    expect("programs on the interface", stage.xdp_on_the_interface(), 0)
    stage.bpfctl("target", "remove", "demo")
    expect("exit code of the daemon", stage.daemon.stop(), 0)
    stage.place.remove()
    search = leftovers.Search(before, stage.seen, stage.folder, stage.bpffs)
    found = {
        "programs, maps and links": search.objects(),
        "pins": search.pins(),
        "network namespaces": stage.place.left(),
        "processes": search.processes(),
        "sockets": search.sockets(),
        "temporary files": search.temporary_files(),
    }
    console.table(
        ("left", "", ""),
        [(kind, len(names), ", ".join(names)) for kind, names in found.items()],
    )
    stage.outcome.left = sum(map(len, found.values()))
    everything = [name for names in found.values() for name in names]
    expect("what is left", everything, [])
    expect("objects of the run that were looked for", len(stage.seen) > 0, True)
