# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import gzip
import lzma
from pathlib import Path

import pytest
from bpfctl.lab import modules
from bpfctl.lab.errors import LabError

from tests.unit.bpfctl.lab.elf import module


@pytest.fixture
def kernel(tmp_path: Path) -> Path:
    """lib/modules/RELEASE with a few modules, some of them compressed."""

    def put(path: str, **entries: str | list[str]) -> None:
        file = tmp_path / "kernel" / path
        file.parent.mkdir(parents=True, exist_ok=True)
        data = module(**entries)
        file.write_bytes(lzma.compress(data) if path.endswith(".xz") else data)

    put("net/ip_vs.ko.xz", depends="nf_conntrack,libcrc32c", license="GPL")
    put("net/nf_conntrack.ko", depends="nf-defrag,libcrc32c")
    put("net/nf_defrag.ko", depends="")
    put("lib/libcrc32c.ko.xz", depends="", softdep="pre: crc32c post: never")
    put("crypto/crc32c_generic.ko", depends="", alias=["crc32c", "crypto-crc32c"])
    put("arch/crc32c-fast.ko", depends="", alias=["crc32c"])
    put("net/sched/sch-ingress.ko", depends="", alias=["net-sch-ingress", "pci:v1AF4"])
    put("drivers/gone.ko", depends="not_there")
    return tmp_path


def test_closure_has_what_is_needed_and_no_more(kernel: Path) -> None:
    found = modules.closure(kernel, ["ip_vs", "crc32c_generic", "builtin_one"])
    assert sorted(found.modules) == [
        "crc32c_generic",
        "ip_vs",
        "libcrc32c",
        "nf_conntrack",
        "nf_defrag",
    ]
    assert found.modules["ip_vs"].path == "kernel/net/ip_vs.ko"
    assert found.modules["ip_vs"].data.startswith(b"\x7fELF")


def test_softdeps_come_before(kernel: Path) -> None:
    found = modules.closure(kernel, ["ip_vs", "crc32c_generic"])
    assert found.needs("libcrc32c") == ["crc32c_generic"]
    order = [module.name for module in found.load_order(["ip_vs"])]
    assert order.index("crc32c_generic") < order.index("libcrc32c")
    assert order.index("nf_defrag") < order.index("nf_conntrack")
    assert order[-1] == "ip_vs"
    assert len(order) == len(set(order)) == 5


def test_the_generic_provider_is_preferred(kernel: Path) -> None:
    found = modules.closure(kernel, ["libcrc32c", "crc32c_fast", "crc32c_generic"])
    assert found.needs("libcrc32c") == ["crc32c_generic"]
    found = modules.closure(kernel, ["libcrc32c", "crc32c_fast"])
    assert found.needs("libcrc32c") == ["crc32c_fast"]
    assert modules.closure(kernel, ["libcrc32c"]).needs("libcrc32c") == []


def test_table_of_needs_is_read_from_its_end(kernel: Path) -> None:
    table = modules.closure(kernel, ["ip_vs", "crc32c_generic"]).dep_table().decode()
    lines = dict(line.split(":") for line in table.splitlines())
    assert lines["kernel/net/ip_vs.ko"].split() == [
        "kernel/lib/libcrc32c.ko",
        "kernel/crypto/crc32c_generic.ko",
        "kernel/net/nf_conntrack.ko",
        "kernel/net/nf_defrag.ko",
    ] or lines["kernel/net/ip_vs.ko"].split() == [
        "kernel/net/nf_conntrack.ko",
        "kernel/lib/libcrc32c.ko",
        "kernel/crypto/crc32c_generic.ko",
        "kernel/net/nf_defrag.ko",
    ]
    assert lines["kernel/net/nf_defrag.ko"] == ""
    assert list(lines) == sorted(lines)


def test_packed_modules_have_their_name_in_the_tables(kernel: Path) -> None:
    found = modules.closure(kernel, ["libcrc32c", "crc32c_generic"])
    before = found.modules["libcrc32c"].data
    for _ in range(2):
        found.compress(["libcrc32c", "never"])
    assert gzip.decompress(found.modules["libcrc32c"].data) == before
    assert found.dep_table() == (
        b"kernel/crypto/crc32c_generic.ko:\n"
        b"kernel/lib/libcrc32c.ko.gz: kernel/crypto/crc32c_generic.ko\n"
    )
    assert found.modules["libcrc32c"].name == "libcrc32c"


def test_aliases_are_those_of_software(kernel: Path) -> None:
    table = modules.closure(kernel, ["sch_ingress", "crc32c_generic"]).alias_table()
    assert table.decode().splitlines() == [
        "alias crc32c crc32c_generic",
        "alias crypto-crc32c crc32c_generic",
        "alias net-sch-ingress sch_ingress",
    ]


def test_what_a_module_needs_may_be_built_in(kernel: Path) -> None:
    assert modules.closure(kernel, ["gone"]).needs("gone") == []


def test_circles_of_softdeps_end(tmp_path: Path) -> None:
    folder = tmp_path / "kernel"
    folder.mkdir()
    (folder / "a.ko").write_bytes(module(depends="", softdep="pre: b"))
    (folder / "b.ko").write_bytes(module(depends="a"))
    found = modules.closure(tmp_path, ["b"])
    assert found.needs("b") == ["a"]
    assert found.needs("a") == ["b"]
    assert sorted(each.name for each in found.load_order(["b"])) == ["a", "b"]


def test_what_is_no_kernel(tmp_path: Path) -> None:
    with pytest.raises(LabError, match="no kernel modules"):
        modules.closure(tmp_path, ["veth"])
    (tmp_path / "kernel").mkdir()
    (tmp_path / "kernel" / "veth.ko").write_bytes(b"text")
    with pytest.raises(LabError, match="no ELF file"):
        modules.closure(tmp_path, ["veth"])
