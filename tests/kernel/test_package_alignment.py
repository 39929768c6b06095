# SPDX-License-Identifier: Apache-2.0
"""Packages that read packets load where words have to be aligned, as on riscv64 and ARMv5."""

from __future__ import annotations

import os

import pytest
from bpfctl.elf import ObjectFile
from bpfctl.package import load_package

from bpfd.kernel import elf_object
from bpfd.kernel.load_options import LoadOptions, ProgramSetting
from tests.kernel.loaded_package import built, sent_btf, types_are_known

STRICT_ALIGNMENT = 1
"""BPF_F_STRICT_ALIGNMENT of linux/bpf.h: as if the CPU could not read unaligned words."""

pytestmark = [
    pytest.mark.root,
    pytest.mark.skipif(os.geteuid() != 0, reason="needs root"),
    pytest.mark.skipif(not types_are_known("ddos"), reason="needs the kernel's types"),
]


@pytest.mark.parametrize("variant", [None, "v2"])
def test_loads_with_strict_alignment(variant: str | None) -> None:
    elf = built(load_package("ddos"), variant)
    programs = {
        program.name: ProgramSetting(flags=STRICT_ALIGNMENT)
        for program in ObjectFile.parse(elf).programs
    }
    options = LoadOptions(programs=programs, kernel_btf=sent_btf("ddos", variant))
    elf_object.load("aligned", elf, options).close()
