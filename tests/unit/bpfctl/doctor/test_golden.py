# SPDX-License-Identifier: Apache-2.0
"""What is said of real kernels. `facts/NAME.json` was read there: Debian's 6.1 on amd64 and
armhf (no BTF, its JIT switched off), and a 6.18 without kprobes whose configuration can be
read; `NAME.txt` is the diagnosis, without the lines of features that work."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from bpfctl.doctor import Facts, diagnose, features, usable

FOLDER = Path(__file__).parent / "facts"


def diagnosis(facts: Facts) -> str:
    lines = []
    for check in diagnose(facts):
        if (
            check.status == "ok"
            and check.group in features.GROUPS
            and (check.check != features.IN_ALL)
        ):
            continue
        lines.append(f"{check.status} {check.group}/{check.check}: {check.reason}")
        if check.remedy:
            lines.append(f"  {check.remedy}")
    return "\n".join(lines) + "\n"


@pytest.mark.parametrize("name", sorted(path.stem for path in FOLDER.glob("*.json")))
def test_a_real_kernel(name: str) -> None:
    facts = Facts.from_json(json.loads((FOLDER / f"{name}.json").read_text()))
    assert diagnosis(facts) == (FOLDER / f"{name}.txt").read_text()
    assert usable(diagnose(facts))
