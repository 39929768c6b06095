# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import shutil
from pathlib import Path

import pytest
from bpfctl.debian import Package
from bpfctl.lab import image
from bpfctl.lab.errors import LabError
from bpfctl.lab.recipe import find
from bpfctl.lab.rootfs import Look


def package(name: str) -> Package:
    return Package(name, "1", "arm64", 1, "0" * 64)


def test_a_kernel_is_told_from_what_it_depends_on() -> None:
    older = ["kmod", "linux-base", "linux-image-6.12.107+deb13-cloud-arm64", "udev"]
    found = image.kernel_packages([package(name) for name in older], "linux-image-arm64")
    assert [each.name for each in found] == [older[2]]
    release = "7.2.13+deb14-cloud-arm64"
    newer = [f"linux-{part}-{release}" for part in ("base", "binary", "image", "modules")]
    every = [package(name) for name in [*newer, "linux-base", "linux-image-cloud-arm64"]]
    assert [each.name for each in image.kernel_packages(every, "k")] == newer
    with pytest.raises(LabError, match="depends on no kernel"):
        image.kernel_packages([package("kmod")], "linux-image-arm64")


@pytest.mark.parametrize(
    ("kernel", "config"),
    [
        ("boot/vmlinuz-6.1.0-9", "boot/config-6.1.0-9"),
        ("boot/vmlinux-6.1.0-9", "boot/config-6.1.0-9"),
        ("usr/lib/modules/6.1.0-9/vmlinuz", "usr/lib/modules/6.1.0-9/config"),
    ],
)
def test_where_a_kernel_is(tmp_path: Path, kernel: str, config: str) -> None:
    (tmp_path / "usr/lib/modules/6.1.0-9").mkdir(parents=True)
    with pytest.raises(LabError, match="there is no kernel in"):
        image.kernel_files(tmp_path)
    (tmp_path / kernel).parent.mkdir(exist_ok=True)
    (tmp_path / kernel).touch()
    assert image.kernel_files(tmp_path) == ("6.1.0-9", tmp_path / kernel, tmp_path / config)


@pytest.fixture
def cache(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """The folder of images, of a cache of its own."""
    monkeypatch.setenv("BPFCTL_CACHE_DIR", str(tmp_path / "cache"))
    return tmp_path / "cache" / "lab" / "images"


def test_images_are_kept_by_their_inputs(monkeypatch: pytest.MonkeyPatch, cache: Path) -> None:
    built: list[tuple[str, bool]] = []

    def build(
        images: Path, recipe: object, look: Look, refresh: bool, _: object
    ) -> image.Image:
        name = f"arm64-6.1-{len(built):032x}"
        (images / name).mkdir()
        (images / name / "release").write_text(f"6.1.{len(built)}")
        built.append((str(look.android), refresh))
        return image.Image(images / name, f"6.1.{len(built) - 1}")

    monkeypatch.setattr(image, "_build", build)
    recipe = find("arm64-6.1")
    assert image.known_release(recipe) == ""
    assert image.build(recipe, Look()).release == "6.1.0"
    assert image.build(recipe, Look()).release == "6.1.0"
    assert image.build(recipe, Look(android=True)).release == "6.1.1"
    assert image.build(recipe, Look(), refresh=True).release == "6.1.2"
    assert image.build(recipe, Look()).release == "6.1.2"
    assert image.known_release(recipe) == "6.1.2"
    assert built == [("False", False), ("True", False), ("False", True)]
    # One that was removed by hand is made again.
    shutil.rmtree(cache / f"arm64-6.1-{2:032x}")
    assert image.build(recipe, Look()).release == "6.1.3"
    for _ in range(4):
        image.build(recipe, Look(), refresh=True)
    assert len([path for path in cache.iterdir() if path.is_dir()]) == 4
    assert image.build(recipe, Look()).release == "6.1.7"
