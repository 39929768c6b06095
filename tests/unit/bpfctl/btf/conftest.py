# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest
from bpfctl.btf import Btf
from bpfctl.btf.parse import ByteOrder

from tests.unit.bpfctl.btf.objects import compiled, section
from tests.unit.bpfctl.btf.shapes import EVERYTHING


@pytest.fixture(scope="session", params=["little", "big"])
def everything(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Btf:
    """BTF of `shapes.EVERYTHING` as clang makes it, for each byte order."""
    order: ByteOrder = request.param
    return Btf.parse(
        section(compiled(EVERYTHING, tmp_path_factory.mktemp("btf"), order), ".BTF")
    )
