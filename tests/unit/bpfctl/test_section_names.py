# SPDX-License-Identifier: Apache-2.0
"""Every section name that libbpf knows means an attach point, or says what to give."""

from __future__ import annotations

import pytest
from bpfctl import attachpoint
from bpfctl.attachpoint.functions import aimed
from bpfctl.attachpoint.text import InvalidAttachPoint

from tests.kernel.section_names import LIBBPF


@pytest.mark.parametrize("name", LIBBPF)
def test_every_section_says_where_or_what_to_give(name: str) -> None:
    for section in (name, f"?{name}"):
        suggestion = attachpoint.from_section(section)
        assert suggestion.enabled == (section == name)
        if suggestion.point is None:
            assert suggestion.why
        elif suggestion.needs is not None:
            assert suggestion.needs in suggestion.why
        if "--attach" in suggestion.why:  # what is said can be typed
            kind = suggestion.why.partition("--attach ")[2].split(",")[0].split(":")[0]
            assert kind in {
                *attachpoint.kind_names(),
                "fentry",
                "fexit",
                "fmod_ret",
                "fsession",
            }


@pytest.mark.parametrize(
    ("text", "point", "function"),
    [
        ("fentry:do_unlinkat,cookie=5", "fentry,cookie=5", "do_unlinkat"),
        ("fexit:pass/program:verdict", "fexit", "pass/program:verdict"),
        ("lsm:file_open", "lsm", "file_open"),
        ("tp_btf:sched_switch", "tp_btf", "sched_switch"),
        ("iter:bpf_map_elem,map=m", "iter,map=m", "bpf_map_elem"),
        ("fentry", "fentry", ""),
        (
            "freplace:d/main,function=slot1",
            "freplace:d/main,function=slot1",
            "d/main:slot1",
        ),
    ],
)
def test_what_is_fixed_at_load(text: str, point: str, function: str) -> None:
    found = aimed(text)
    assert found is not None
    assert (found.point, found.function) == (point, function)
    attachpoint.parse(found.point)


def test_what_is_not_fixed_at_load() -> None:
    assert aimed("kprobe:do_unlinkat") is None
    assert aimed("xdp:eth0") is None
    with pytest.raises(InvalidAttachPoint, match="a name follows"):
        aimed("fentry:")


def test_kinds_and_names_of_the_kernel() -> None:
    hook = aimed("lsm:file_open")
    assert hook is not None
    assert hook.fits("lsm.s/bprm_check_security")
    assert not hook.fits("fentry/file_open")
    assert hook.same("bpf_lsm_file_open")
    assert not hook.same("bpf_lsm_file_permission")
    traced = aimed("tracing:o/p:f")
    assert traced is not None
    assert traced.fits("?fexit/x")
    assert traced.same("f")
