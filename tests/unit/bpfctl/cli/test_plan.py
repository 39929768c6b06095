# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from pathlib import Path

import pytest
from bpfctl import attachpoint
from bpfctl.cli.plan import Plan, Program, functions, make
from bpfctl.errors import InvalidArgument
from bpfctl.package import load_package

XDP = Program("count", "xdp")
SWITCH = Program("on_switch", "tp/sched/sched_switch")


def texts(plan: Plan) -> list[tuple[str, str]]:
    return [(name, attachpoint.describe(point)) for name, point in plan.attach]


def test_sections_say_where() -> None:
    assert texts(make([SWITCH], [], {})) == [("on_switch", "tracepoint:sched/sched_switch")]


def test_section_that_needs_an_interface_gets_it() -> None:
    plan = make([XDP, SWITCH], [], {"interface": "eth0,netns=blue"})
    assert texts(plan)[0] == ("count", "xdp:eth0,netns=blue")
    with pytest.raises(InvalidArgument, match=r"which interface\? Add --interface NAME"):
        make([XDP], [], {})


def test_attach_takes_the_place_of_the_section() -> None:
    plan = make([SWITCH], ["on_switch=tracepoint:sched/sched_wakeup"], {})
    assert texts(plan) == [("on_switch", "tracepoint:sched/sched_wakeup")]


def test_one_program_may_go_to_several_places() -> None:
    plan = make([XDP], ["count=xdp:a", "count=xdp:b"], {})
    assert texts(plan) == [("count", "xdp:a"), ("count", "xdp:b")]


def test_program_is_found_by_the_kind_of_its_section() -> None:
    plan = make([XDP, SWITCH], ["xdp:eth0"], {})
    assert texts(plan)[0] == ("count", "xdp:eth0")


def test_several_that_would_fit_must_be_named() -> None:
    with pytest.raises(InvalidArgument, match=r"say PROGRAM=xdp:eth0; .*count, other"):
        make([XDP, Program("other", "xdp")], ["xdp:eth0"], {"interface": "eth1"})
    with pytest.raises(InvalidArgument, match="no program 'cuont'"):
        make([XDP, SWITCH], ["cuont=xdp:eth0"], {})


def test_section_without_a_place_is_left_with_a_reason() -> None:
    plan = make([SWITCH, Program("f", "uprobe")], [], {})
    assert [name for name, _ in plan.attach] == ["on_switch"]
    assert plan.left[0][0] == "f"
    assert "--attach" in plan.left[0][1]


def test_package_says_where(tmp_path: Path) -> None:
    folder = tmp_path / "p"
    folder.mkdir()
    (folder / "p.bpf.c").write_text("")
    (folder / "package.toml").write_text(
        'name = "p"\ndescription = "d."\nversion = "1.0.0"\nlicense = "GPL-2.0-only"\n'
        'source = "p.bpf.c"\n'
        '[[programs]]\nname = "count"\ndescription = "d."\nattach = "xdp:{interface}"\n'
        '[[programs]]\nname = "tail"\ndescription = "d."\nattach = "none"\n'
    )
    package = load_package(folder)
    plan = make([XDP, Program("tail", "xdp")], [], {"interface": "eth0"}, package)
    assert texts(plan) == [("count", "xdp:eth0")]
    assert plan.left == []


def test_an_interface_takes_one_program() -> None:
    both = [XDP, Program("other", "xdp"), SWITCH]
    with pytest.raises(InvalidArgument, match=r"count and other would both go to xdp:eth0"):
        make(both, [], {"interface": "eth0"})
    with pytest.raises(InvalidArgument, match=r"--attach other=xdp:eth0 and no --interface"):
        make(both, [], {"interface": "eth0"})


def test_what_attach_does_not_speak_of_is_left() -> None:
    both = [XDP, Program("other", "xdp"), SWITCH]
    plan = make(both, ["other=xdp:eth0"], {})
    assert texts(plan) == [
        ("other", "xdp:eth0"),
        ("on_switch", "tracepoint:sched/sched_switch"),
    ]
    assert [name for name, _ in plan.left] == ["count"]
    assert "which interface?" in plan.left[0][1]


def test_struct_ops_maps_are_registered_once_each() -> None:
    programs = [Program("ssthresh", "struct_ops/ssthresh"), Program("undo", "struct_ops/undo")]
    plan = make(programs, [], {}, tables=["one", "two"])
    assert texts(plan) == [("ssthresh", "struct_ops:one"), ("ssthresh", "struct_ops:two")]
    assert plan.left == []
    plan = make(programs, ["undo=struct_ops:one"], {}, tables=["one"])
    assert texts(plan) == [("undo", "struct_ops:one")]
    assert [name for name, _ in make(programs, [], {}).left] == ["ssthresh", "undo"]


ENTRY = Program("entry", "fentry/vfs_read")
EXIT = Program("exit", "fexit.s")


def test_what_programs_must_be_loaded_for() -> None:
    asked = ["entry=fentry:vfs_write,cookie=5", "fexit:d/main:slot", "xdp:eth0"]
    programs = [ENTRY, EXIT, XDP]
    assert functions(programs, asked, {}) == {"entry": "vfs_write", "exit": "d/main:slot"}
    assert texts(make(programs, asked, {})) == [
        ("entry", "tracing,cookie=5"),
        ("exit", "tracing"),
        ("count", "xdp:eth0"),
    ]
    assert functions(programs, ["tracing"], {}) == {}
    replaces = Program("new", "freplace")
    asked = ["freplace:d/main,function=slot"]
    assert functions([replaces], asked, {}) == {"new": "d/main:slot"}
    replaces = Program("new", "freplace/slot")
    assert functions([replaces], ["freplace:d/main"], {}) == {"new": "d/main:slot"}
    assert texts(make([replaces], ["freplace:d/main"], {})) == [
        ("new", "freplace:d/main,function=slot")
    ]
    with pytest.raises(InvalidArgument, match=r'its section is SEC\("fentry/vfs_read"\)'):
        functions(programs, ["entry=lsm:file_open"], {})
    with pytest.raises(InvalidArgument, match="loaded for one function"):
        functions(programs, ["entry=fentry:a", "entry=fentry:b"], {})


def test_a_section_without_a_target_is_left_with_a_reason() -> None:
    plan = make([SWITCH, EXIT, Program("it", "iter"), Program("h", "lsm")], [], {})
    assert [why.partition("--attach ")[2] for _, why in plan.left] == [
        "fexit:FUNCTION",
        "iterator:task or the like",
        "lsm:HOOK",
    ]
