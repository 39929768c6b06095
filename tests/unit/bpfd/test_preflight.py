# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from bpfd import features, preflight
from bpfd.errors import InvalidArgument
from bpfd.features import Probe
from bpfd.v1 import target_pb2


@pytest.mark.parametrize(
    ("said", "met"),
    [
        ("", True),
        ("R1 type=ctx expected=map_ptr", True),
        ("R1 !read_ok", True),
        ("invalid func unknown#999", False),
        ("unknown func bpf_probe_write_user#36", False),
        ("program of this type cannot use helper bpf_probe_write_user#36", False),
        ("cannot call GPL-restricted function from non-GPL compatible program", False),
    ],
)
def test_words_of_the_verifier(said: str, met: bool) -> None:
    verdict, needs = preflight.helper_verdict(said)
    assert verdict is met
    assert bool(needs) is not met


@pytest.mark.parametrize(
    ("need", "words"),
    [
        (target_pb2.Need(), "says nothing"),
        (target_pb2.Need(feature="tcx lnk"), "tcx link"),
        (target_pb2.Need(function=""), "1 to 512"),
        (target_pb2.Need(tracepoint="x" * 513), "1 to 512"),
    ],
)
def test_bad_needs(need: target_pb2.Need, words: str) -> None:
    with pytest.raises(InvalidArgument, match=words):
        preflight.answers([need])


def test_too_many_needs() -> None:
    with pytest.raises(InvalidArgument, match="at most 4096"):
        preflight.answers([target_pb2.Need(feature="fentry")] * 4097)


def test_features_are_answered_as_they_were_found(monkeypatch: pytest.MonkeyPatch) -> None:
    def fail() -> None:
        raise OSError(22, "Invalid argument")

    monkeypatch.setattr(features, "PROBES", {"tail": Probe("tail", "wag", fail, "1.0", "dog")})
    monkeypatch.setattr(features, "_found", {})
    (found,) = preflight.answers([target_pb2.Need(feature="tail")])
    assert found == preflight.Answer(False, "wag: EINVAL (Invalid argument)", "1.0", "dog")
