# SPDX-License-Identifier: Apache-2.0
"""What a run needs, looked for before anything is made."""

from __future__ import annotations

import os
import shutil
import tempfile
from pathlib import Path

from tests.demo.outcome import Deviation
from tests.demo.processes import program


def check() -> None:
    """Raises Deviation that says what is missing and how to get it."""
    if os.geteuid() != 0:
        raise Deviation("root is needed for network namespaces and BPF: sudo make demo")
    packages = {"ip": "iproute2", "nsenter": "util-linux"}
    for tool, package in packages.items():
        if not shutil.which(tool):
            raise Deviation(f"the command {tool} is missing: apt-get install {package}")
    for name in ("bpfd", "bpfctl"):
        if not Path(program(name)).exists():
            raise Deviation(f"{program(name)} is missing: make setup installs it")
    from bpfctl.build import NoCompiler
    from bpfctl.compiler.clang import find_compiler

    with tempfile.TemporaryDirectory() as folder:
        try:
            find_compiler(Path(folder))
        except NoCompiler as error:
            raise Deviation(str(error)) from None
    if not Path("/sys/kernel/btf/vmlinux").exists():
        raise Deviation("the kernel has no BTF (CONFIG_DEBUG_INFO_BTF), which tcplife needs")
