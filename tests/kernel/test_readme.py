# SPDX-License-Identifier: Apache-2.0
"""The README's tour, line by line, against a daemon in a network namespace of its own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

from tests.kernel.conftest import MakeDaemon

ROOT = Path(__file__).parents[2]


def tour() -> list[str]:
    """Commands between the two marks."""
    text = (ROOT / "README.md").read_text()
    between = text.split("<!-- tour -->")[1].split("<!-- end of tour -->")[0]
    return [line.strip() for line in between.splitlines() if line.strip()]


def test_the_tour(make_daemon: MakeDaemon, tmp_path: Path) -> None:
    daemon = make_daemon()
    daemon.prefix = ["unshare", "--net"]
    daemon.start()
    environment = {
        **os.environ,
        "BPFCTL_SOCKET": str(daemon.socket),
        "BPFCTL_CONFIG_DIR": str(tmp_path / "config"),
        "BPFCTL_CACHE_DIR": str(tmp_path / "cache"),
        "PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}",
    }
    lines = tour()
    assert len(lines) == 10
    for line in lines[1:]:  # the first activates the virtual environment
        done = subprocess.run(
            line, shell=True, cwd=ROOT, env=environment, capture_output=True, text=True
        )
        assert done.returncode == 0, f"{line}\n{done.stdout}{done.stderr}"
    left = [path for path in (daemon.bpffs / "bpfd").rglob("*") if not path.is_dir()]
    assert left == []
