# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import os

import pytest
from bpfctl.btf import Btf
from bpfctl.btf.parse import ByteOrder
from hypothesis import HealthCheck, settings

from tests.unit.bpfctl.btf.objects import compiled, section
from tests.unit.bpfctl.btf.shapes import EVERYTHING

# No deadlines: nothing here is timed. The same examples in every run; set
# HYPOTHESIS_PROFILE=search to look for new ones.
settings.register_profile(
    "bpfd", deadline=None, derandomize=True, suppress_health_check=[HealthCheck.too_slow]
)
settings.register_profile("search", settings.get_profile("bpfd"), derandomize=False)
settings.load_profile(os.environ.get("HYPOTHESIS_PROFILE", "bpfd"))


@pytest.fixture(scope="session", params=["little", "big"])
def everything(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Btf:
    """BTF of `shapes.EVERYTHING` as clang makes it, for each byte order."""
    order: ByteOrder = request.param
    return Btf.parse(
        section(compiled(EVERYTHING, tmp_path_factory.mktemp("btf"), order), ".BTF")
    )
