# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import errno
import os

import pytest

from bpfd import features
from bpfd.errors import NotSupported
from bpfd.features import Probe


@pytest.fixture
def probes(monkeypatch: pytest.MonkeyPatch) -> dict[str, Probe]:
    """No features but those that a test adds."""
    found: dict[str, Probe] = {}
    monkeypatch.setattr(features, "PROBES", found)
    monkeypatch.setattr(features, "_found", {})
    return found


def test_a_feature_is_tried_once(probes: dict[str, Probe]) -> None:
    tries: list[int] = []
    probes["tail"] = Probe("tail", "wagging", lambda: tries.append(1), "1.0", "a dog")
    assert features.feature("tail") is features.feature("tail")
    assert len(tries) == 1
    assert features.every() == [features.Feature("tail", True, "wagging: works", "1.0", "")]


def test_what_is_missing_says_what_it_needs(probes: dict[str, Probe]) -> None:
    def refuse() -> None:
        raise OSError(errno.EINVAL, os.strerror(errno.EINVAL))

    probes["tail"] = Probe("tail", "wagging", refuse, "1.0", "a dog")
    found = features.feature("tail")
    assert (found.supported, found.probe) == (False, "wagging: EINVAL (Invalid argument)")
    with pytest.raises(NotSupported) as caught:
        features.require("tail")
    assert caught.value == NotSupported("tail", "1.0", "a dog")


def test_a_probe_that_is_itself_not_supported(probes: dict[str, Probe]) -> None:
    def refuse() -> None:
        raise NotSupported("legs")

    probes["tail"] = Probe("tail", "wagging", refuse)
    assert features.feature("tail").probe == "wagging: this target does not support legs"


def test_names_are_unique() -> None:
    assert len(features.PROBES) > 60
    assert all(name == probe.name for name, probe in features.PROBES.items())
