# SPDX-License-Identifier: Apache-2.0
"""package.toml: what is read, and what is refused with which words."""

from __future__ import annotations

import hashlib
import re
from pathlib import Path

import pytest
from bpfctl import attachpoint
from bpfctl.build import NoKernelTypes, TargetFacts, build
from bpfctl.elf import ObjectFile
from bpfctl.package import (
    PARAMETERS,
    PackageError,
    check,
    find_package,
    load_package,
    packages,
)

from tests.clang import CLANG

KERNEL_BTF = Path("/sys/kernel/btf/vmlinux")
ROOT = Path(__file__).resolve().parents[3]

HEAD = """
name = "sample"
description = "One sentence."
version = "1.2.3"
license = "GPL-2.0-only"
source = "sample.bpf.c"
"""

PROGRAM = HEAD + '[[programs]]\nname = "p"\ndescription = "d"\n'
MAP = HEAD + '[[maps]]\nname = "m"\ndescription = "d"\n'
SETTING = HEAD + '[[settings]]\nname = "s"\ndescription = "d"\n'


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    folder = tmp_path / "sample"
    folder.mkdir()
    (folder / "sample.bpf.c").write_text("")
    return folder


def write(folder: Path, text: str) -> Path:
    (folder / "package.toml").write_text(text)
    return folder


def documented() -> str:
    page = (ROOT / "docs/design/005-package-toml.md").read_text()
    match = re.search(r"```toml\n(.*?)```", page, re.DOTALL)
    assert match
    return match[1]


def test_the_documented_example_is_read(tmp_path: Path) -> None:
    folder = tmp_path / "ddos"
    folder.mkdir()
    (folder / "ddos.bpf.c").write_text("")
    (folder / "ddos_strict.bpf.c").write_text("")
    package = load_package(write(folder, documented()))
    assert package.name == "ddos"
    assert package.source_path() == folder / "ddos.bpf.c"
    assert package.source_path("strict") == folder / "ddos_strict.bpf.c"
    assert package.parameters == ("interface",)
    program = package.program("ddos")
    assert program is not None
    assert program.enabled
    assert program.attach_text({"interface": "eth0,netns=blue"}) == "xdp:eth0,netns=blue"
    assert [event.map for event in package.events] == ["drops"]
    assert package.events[0].lost == "drops_lost"
    native = package.features[1]
    assert not native.required
    assert native.met_by(["xdp generic"])
    assert not native.met_by(["ringbuf"])


def test_settings_become_constants_and_sizes(tmp_path: Path) -> None:
    folder = tmp_path / "ddos"
    folder.mkdir()
    (folder / "ddos.bpf.c").write_text("")
    (folder / "ddos_strict.bpf.c").write_text("")
    package = load_package(write(folder, documented()))
    assert package.resolve({}).constants == {"sample_every": 100}
    assert package.resolve({}).sizes == {}
    resolved = package.resolve({"prefixes": "0x1000", "sample": "1_000"})
    assert resolved.constants == {"sample_every": 1000}
    assert resolved.sizes == {"block_v4": 4096}
    with pytest.raises(PackageError, match="prefixes is 1 to 1000000, not 0"):
        package.resolve({"prefixes": "0"})
    with pytest.raises(PackageError, match="sample is a number, not 'often'"):
        package.resolve({"sample": "often"})
    with pytest.raises(PackageError, match="no setting 'sampel'; did you mean sample"):
        package.resolve({"sampel": "1"})
    with pytest.raises(PackageError, match="no variant 'stric'; did you mean strict"):
        package.source_path("stric")


@pytest.mark.parametrize(
    ("kind", "text", "value"),
    [
        ("bool", "yes", True),
        ("bool", "OFF", False),
        ("s8", "-128", -128),
        ("u64", "18446744073709551615", 2**64 - 1),
        ("text", "eth0", "eth0"),
    ],
)
def test_values_are_typed_in_by_type(folder: Path, kind: str, text: str, value: object) -> None:
    package = load_package(write(folder, SETTING + f'type = "{kind}"\n'))
    assert package.resolve({"s": text}).constants == {"s": value}


@pytest.mark.parametrize(("kind", "text"), [("bool", "2"), ("s8", "128"), ("u8", "-1")])
def test_values_of_the_wrong_type_are_refused(folder: Path, kind: str, text: str) -> None:
    package = load_package(write(folder, SETTING + f'type = "{kind}"\n'))
    with pytest.raises(PackageError, match="setting s is "):
        package.resolve({"s": text})


def test_a_program_without_attach_goes_where_its_section_says(folder: Path) -> None:
    program = load_package(write(folder, PROGRAM)).programs[0]
    assert program.attach is None
    assert program.attach_text({}) is None
    assert program.attached


def test_a_program_that_is_never_attached(folder: Path) -> None:
    program = load_package(
        write(folder, PROGRAM + 'attach = "none"\nenabled = false')
    ).programs[0]
    assert not program.attached
    assert not program.enabled


def test_a_missing_parameter_says_what_to_add(folder: Path) -> None:
    program = load_package(write(folder, PROGRAM + 'attach = "xdp:{interface}"')).programs[0]
    with pytest.raises(PackageError, match="add -p interface=\\.\\.\\."):
        program.attach_text({})


@pytest.mark.parametrize(
    ("text", "words"),
    [
        ("name = ", "Invalid value"),
        (HEAD.replace('version = "1.2.3"', ""), "version is missing"),
        (HEAD.replace("version", "verison"), "version is missing; did you mean verison?"),
        (HEAD.replace("1.2.3", "1.2"), "version '1.2' is not of the form"),
        (HEAD.replace('"1.2.3"', "1"), "version is not a text: 1"),
        (HEAD.replace('"One sentence."', '" "'), "description is empty"),
        (HEAD.replace('"sample"', '"other"'), "name is 'other' and the folder is 'sample'"),
        (HEAD.replace("sample.bpf.c", "none.bpf.c"), "there is no file none.bpf.c"),
        (HEAD.replace("sample.bpf.c", "../sample/sample.bpf.c"), "is not a C file in"),
        (HEAD + 'lisense = "x"', "lisense is an unknown key; did you mean license?"),
        (HEAD + "programs = 3", "programs is not a list: 3"),
        (HEAD + "programs = [3]", r"programs\[0\]. is not a table"),
        (HEAD + 'variants = {v = "none.c"}', "variants.v: there is no file none.c"),
        (PROGRAM + 'atach = "xdp:eth0"', r"programs\[p\].atach is an unknown key; .* attach"),
        (PROGRAM + 'attach = "xdp:{interfac}"', "unknown parameter {interfac}; .* interface"),
        (
            PROGRAM + '[[programs]]\nname = "p"\ndescription = "d"',
            "programs: 'p' is there twice",
        ),
        (PROGRAM + "enabled = 1", r"programs\[p\].enabled is not true or false: 1"),
        (MAP + 'size = "s"', r"maps\[m\].size: there is no setting 's'"),
        (
            MAP + 'size = "s"\n[[settings]]\nname = "s"\ndescription = "d"\ntype = "bool"',
            "the size of a map is an integer",
        ),
        (
            MAP
            + 'size = "s"\n[[settings]]\nname = "s"\ndescription = "d"\ntype = "u32"\n'
            + 'constant = "c"',
            "is a constant and the size of map m",
        ),
        (SETTING + 'type = "int"', "type 'int' is not one of bool, u8"),
        (SETTING + 'type = "u8"\ndefault = 256', "default: setting s is 0 to 255, not 256"),
        (SETTING + 'type = "u8"\ndefault = true', "default: setting s has type u8, not True"),
        (SETTING + 'type = "u8"\nrange = [2, 1]', r"range is not \[smallest, largest\]"),
        (SETTING + 'type = "u8"\nrange = [0, 256]', "does not fit in u8"),
        (SETTING + 'type = "text"\nrange = [0, 1]', "range is for integers"),
        (HEAD + '[[features]]\nname = "f"', r"features\[f\].why is missing"),
        (HEAD + '[[events]]\nmap = "r"\ntype = "t"', r"events\[0\].description is missing"),
    ],
)
def test_what_is_wrong_is_named(folder: Path, text: str, words: str) -> None:
    with pytest.raises(PackageError, match=words) as caught:
        load_package(write(folder, text))
    assert str(folder / "package.toml") in str(caught.value)


def test_a_huge_file_is_refused(folder: Path) -> None:
    with pytest.raises(PackageError, match="larger than"):
        load_package(write(folder, "#" * (2 << 20)))


def test_what_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(PackageError, match="there is no package 'nosuchpackage'"):
        load_package("nosuchpackage")
    with pytest.raises(PackageError, match="no such folder"):
        load_package(tmp_path / "none")
    with pytest.raises(PackageError, match="a package needs this file"):
        load_package(tmp_path)


@pytest.mark.parametrize("folder", list(packages()), ids=lambda folder: str(folder.name))
def test_the_packages_of_this_repository_are_read(folder: Path) -> None:
    package = load_package(folder.name)
    assert package.folder == folder
    assert find_package(f"{folder}/") == folder
    for program in package.programs:
        text = program.attach_text(dict.fromkeys(PARAMETERS, "1"))
        if text is not None and program.attached:
            assert attachpoint.parse(text).WhichOneof("point")


CHECKED = """
#define SEC(name) __attribute__((section(name), used))
struct record { int value; };
struct { int (*type)[27]; int (*max_entries)[4096]; } ring SEC(".maps");
const volatile unsigned int rate = 1;
struct record last;
SEC("xdp")
int watch(void *ctx)
{
    return rate + last.value;
}
"""

GOOD = (
    HEAD
    + '[[programs]]\nname = "watch"\ndescription = "d"\n'
    + '[[maps]]\nname = "ring"\ndescription = "d"\n'
    + '[[settings]]\nname = "rate"\ndescription = "d"\ntype = "u32"\n'
    + '[[events]]\nmap = "ring"\ntype = "record"\ndescription = "d"\n'
)


@pytest.fixture
def built(folder: Path, monkeypatch: pytest.MonkeyPatch) -> ObjectFile:
    if not CLANG:
        pytest.skip("needs clang")
    monkeypatch.setenv("BPFCTL_CACHE_DIR", str(folder.parent / "cache"))
    (folder / "sample.bpf.c").write_text(CHECKED)
    facts = TargetFacts("x86_64", big_endian=False, pointer_bits=64, btf_sha256="")
    return ObjectFile.parse(build(folder / "sample.bpf.c", facts, lambda: b"").object)


def test_a_package_that_fits_its_object(folder: Path, built: ObjectFile) -> None:
    package = load_package(write(folder, GOOD))
    check(package, built)
    assert package.events[0].type == "record"


@pytest.mark.parametrize(
    ("good", "bad", "words"),
    [
        (
            '"watch"',
            '"wotch"',
            r"programs\[wotch\]: sample.* program 'wotch'; did you mean watch",
        ),
        ('name = "ring"', 'name = "rin"', r"maps\[rin\]: .* no map 'rin'; did you mean ring"),
        ('map = "ring"', 'map = "rung"', r"events\[rung\].map: .* no map 'rung'"),
        (
            '"record"',
            '"recrod"',
            r"events\[ring\].type: .* struct 'recrod'; did you mean record",
        ),
        ('name = "rate"', 'name = "rat"', r"settings\[rat\].constant: .* variable 'rat'"),
        ('"u32"', '"u16"', r"rate has 4 bytes, and the type u16 has 2"),
        ('"u32"', '"bool"', r"rate has 4 bytes, and the type bool has 1"),
    ],
)
def test_a_package_that_does_not_fit(
    folder: Path, built: ObjectFile, good: str, bad: str, words: str
) -> None:
    with pytest.raises(PackageError, match=words):
        check(load_package(write(folder, GOOD.replace(good, bad))), built)


@pytest.mark.parametrize("folder", list(packages()), ids=lambda folder: str(folder.name))
def test_the_packages_of_this_repository_fit_their_objects(
    folder: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    if not CLANG:
        pytest.skip("needs clang")
    kernel = KERNEL_BTF.read_bytes() if KERNEL_BTF.exists() else b""
    facts = TargetFacts(
        "x86_64", False, 64, hashlib.sha256(kernel).hexdigest() if kernel else ""
    )
    monkeypatch.setenv("BPFCTL_CACHE_DIR", str(tmp_path))
    package = load_package(folder.name)
    for variant in (None, *package.variants):
        try:
            built = build(package.source_path(variant), facts, lambda: kernel)
        except NoKernelTypes as error:
            pytest.skip(str(error))
        assert built.warnings == ""
        check(package, ObjectFile.parse(built.object))
