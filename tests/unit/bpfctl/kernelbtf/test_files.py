# SPDX-License-Identifier: Apache-2.0
"""BTF out of the files that users have."""

from __future__ import annotations

import gzip
import io
import shutil
import subprocess
import tarfile
from pathlib import Path

import pytest
from bpfctl.kernelbtf import KernelBtfError, KernelBuild, files, hosttools
from bpfctl.kernelbtf.elf import encode

from . import made

GCC = shutil.which("gcc")
PAHOLE = shutil.which("pahole")
ID = bytes(range(20))
BUILD = KernelBuild("arm", made.RELEASE, made.VERSION)


def written(folder: Path, name: str, data: bytes) -> Path:
    path = folder / name
    path.write_bytes(data)
    return path


def test_raw_btf_says_nothing_of_its_kernel(tmp_path: Path) -> None:
    found = files.read(written(tmp_path, "vmlinux.btf", made.WHOLE))
    assert (found.kernel.btf, found.kernel.build) == (made.WHOLE, KernelBuild())
    path = written(tmp_path, "5.4.0-91-generic.btf", made.WHOLE)
    assert files.named(files.read(path), path).kernel.build.release == "5.4.0-91-generic"
    path = written(tmp_path, "mine.btf", made.WHOLE)
    assert files.named(files.read(path), path).kernel.build == KernelBuild()


def test_images(tmp_path: Path) -> None:
    packed = gzip.compress(made.kernel(), 1)
    found = files.read(written(tmp_path, "vmlinuz", made.zimage(packed)))
    assert (found.kernel.btf, found.kernel.build) == (made.WHOLE, BUILD)
    without = made.zimage(gzip.compress(made.kernel(b""), 1))
    with pytest.raises(KernelBtfError, match=r"built without BTF.*btf fetch"):
        files.read(written(tmp_path, "zImage", without))
    with pytest.raises(KernelBtfError, match="no Linux kernel"):
        files.read(written(tmp_path, "notes.txt", b"hello"))


@pytest.mark.parametrize(
    ("machine", "wide", "architecture"), [(40, False, "arm"), (62, True, "x86")]
)
def test_vmlinux_with_btf(tmp_path: Path, machine: int, wide: bool, architecture: str) -> None:
    sections = {".rodata": made.BANNER, ".BTF": made.WHOLE, ".notes": made.build_id_note(ID)}
    found = files.read(written(tmp_path, "vmlinux", made.elf(sections, machine, wide)))
    assert found.kernel.btf == made.WHOLE
    wanted = KernelBuild(architecture, made.RELEASE, made.VERSION, ID.hex())
    assert found.kernel.build == wanted


def test_a_stripped_vmlinux_and_a_damaged_one(tmp_path: Path) -> None:
    stripped = written(tmp_path, "vmlinux", made.elf({".rodata": made.BANNER}))
    with pytest.raises(KernelBtfError, match="neither BTF nor debug information"):
        files.read(stripped)
    with pytest.raises(KernelBtfError, match="damaged"):
        files.read(written(tmp_path, "vmlinux", made.elf({".BTF": made.WHOLE})[:300]))


SOURCE = b"""
struct task_struct { unsigned long start_stack; int prio; } task;
const char banner[] = "%s";
"""


@pytest.fixture
def with_dwarf(tmp_path: Path) -> Path:
    """An ELF file with debug information of a struct task_struct."""
    if GCC is None or PAHOLE is None:
        pytest.skip("needs gcc and pahole")
    text = SOURCE % made.BANNER.replace(b"\n", b"\\n")
    path = tmp_path / "vmlinux-debug"
    command = [GCC, "-g", "-c", "-x", "c", "-", "-o", str(path)]
    subprocess.run(command, input=text, check=True)
    return path


def test_vmlinux_with_dwarf(with_dwarf: Path) -> None:
    from bpfctl.btf import Btf

    found = files.read(with_dwarf)
    parsed = Btf.parse(found.kernel.btf)
    assert parsed.find("task_struct") is not None
    assert found.kernel.build.release == made.RELEASE


def test_no_pahole(with_dwarf: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BPFCTL_PAHOLE", "/no/such/pahole")
    with pytest.raises(KernelBtfError, match="BPFCTL_PAHOLE is '/no/such/pahole'"):
        encode(with_dwarf)


def test_a_pahole_that_is_too_old(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    old = written(tmp_path, "pahole", b"#!/bin/sh\necho v1.15\n")
    old.chmod(0o755)
    monkeypatch.setenv("PATH", str(tmp_path), prepend=":")

    def nothing(*_: object) -> list[str]:
        raise KernelBtfError("no archive")

    monkeypatch.setattr(hosttools, "unpacked", nothing)
    with pytest.raises(KernelBtfError, match=r"1\.22 or newer.*pahole is too old.*apt install"):
        hosttools.command(hosttools.PAHOLE)
    monkeypatch.setattr(hosttools, "unpacked", lambda *_: ["another"])
    assert hosttools.command(hosttools.PAHOLE) == ["another"]


def archive(folder: Path, name: str, members: dict[str, bytes]) -> Path:
    path = folder / name
    with tarfile.open(path, "w:xz") as tar:
        for member, data in members.items():
            info = tarfile.TarInfo(member)
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    return path


def test_archives_of_btfhub(tmp_path: Path) -> None:
    name = "5.4.0-91-generic.btf"
    found = files.read(archive(tmp_path, f"{name}.tar.xz", {name: made.WHOLE}))
    assert found.kernel.btf == made.WHOLE
    assert found.kernel.build == KernelBuild(release="5.4.0-91-generic")
    with pytest.raises(KernelBtfError, match=r"no \.btf file"):
        files.read(archive(tmp_path, "x.tar.xz", {"README": b""}))
    with pytest.raises(KernelBtfError, match="no archive that can be read"):
        files.read(written(tmp_path, "x.tar.xz", b"nothing"))


def package(folder: Path, name: str, members: dict[str, bytes]) -> Path:
    """A Debian package with these files."""
    if shutil.which("dpkg-deb") is None:
        pytest.skip("needs dpkg-deb")
    root = folder / f"{name}-root"
    (root / "DEBIAN").mkdir(parents=True)
    (root / "DEBIAN" / "control").write_text(
        f"Package: {name}\nVersion: 1\nArchitecture: all\nMaintainer: nobody\nDescription: -\n"
    )
    for member, data in members.items():
        (root / member).parent.mkdir(parents=True, exist_ok=True)
        (root / member).write_bytes(data)
    path = folder / f"{name}.deb"
    command = ["dpkg-deb", "-Znone", "--root-owner-group", "--build", str(root), str(path)]
    subprocess.run(command, check=True, stdout=subprocess.DEVNULL)
    return path


def test_packages(tmp_path: Path) -> None:
    image = made.zimage(gzip.compress(made.kernel(), 1))
    modules = {"lib/modules/6.1/kernel/vmlinux_reader.ko": b"\x7fELF", "boot/config-6.1": b""}
    found = files.read(package(tmp_path, "image", {"boot/vmlinuz-6.1": image, **modules}))
    assert (found.kernel.btf, found.kernel.build) == (made.WHOLE, BUILD)
    assert found.source == "image.deb: 0-vmlinuz-6.1"
    vmlinux = made.elf({".rodata": made.BANNER, ".BTF": made.WHOLE})
    debug = {"usr/lib/debug/boot/vmlinux-6.1": vmlinux, "usr/lib/debug/lib/z.ko": b"\x7fELF"}
    assert files.read(package(tmp_path, "debug", debug)).kernel.build == BUILD
    with pytest.raises(KernelBtfError, match="holds no kernel with BTF"):
        files.read(package(tmp_path, "other", {"boot/config": b""}))
