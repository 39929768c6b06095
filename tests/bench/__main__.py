# SPDX-License-Identifier: Apache-2.0
"""Measures, beside peers: `python -m tests.bench [idle] [run] [dump] [events] [chain]`."""

from __future__ import annotations

import os
import sys

from tests.bench import chain, dump, events, idle, result, run
from tests.bench.processes import BUILD, Missing

_ALL = {
    "idle": idle.measure,
    "run": run.measure,
    "dump": dump.measure,
    "events": events.measure,
    "chain": chain.measure,
}


def main(names: list[str]) -> int:
    """Measures what is named, or all."""
    unknown = [name for name in names if name not in _ALL]
    if unknown:
        print(f"there is no {unknown[0]}; choose from {', '.join(_ALL)}", file=sys.stderr)
        return 2
    if os.geteuid() != 0:
        print("needs root", file=sys.stderr)
        return 1
    rows: list[result.Row] = []
    missing: list[str] = []
    for name in names or _ALL:
        print(f"{name} ...", flush=True)
        try:
            found, absent = _ALL[name]()
        except Missing as why:
            found, absent = [], [f"{name}: {why}"]
        rows += found
        missing += absent
    print()
    print(result.table(rows))
    for each in missing:
        print(f"skipped: {each}")
    path = BUILD / "core.json"
    result.write(rows, path)
    print(f"written to {os.path.relpath(path)}")
    return 0


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
