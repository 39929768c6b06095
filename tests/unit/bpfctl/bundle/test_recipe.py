# SPDX-License-Identifier: Apache-2.0
"""The recipe is read strictly."""

from __future__ import annotations

from pathlib import Path

import bpfctl.bundle
import pytest
from bpfctl.bundle import BundleError, recipe

TEXT = """\
suite = "trixie"
python = "3.13"
packages = ["libc6"]
libraries = []
[modules]
also = []
never = ["ssl"]
[[wheels]]
name = "thing"
version = "1.0"
sha256 = ["{digest}"]
[architectures.arm64]
machine = "aarch64"
[architectures.riscv64]
machine = "riscv64"
packages = ["python3-thing"]
without = ["thing"]
"""


def _load(folder: Path, text: str) -> recipe.Recipe:
    file = folder / "recipe.toml"
    file.write_text(text.replace("{digest}", "0" * 64))
    return recipe.load(file)


def test_the_recipe_of_the_project() -> None:
    found = recipe.load()
    assert {"grpcio", "protobuf"} < {each.name for each in found.wheels}
    assert "libbpf.so.1" in found.libraries
    assert bpfctl.bundle.architectures() == ["amd64", "arm64", "armhf", "riscv64"]


def test_wheels_are_as_the_project_demands_them() -> None:
    """The versions that the daemon is tested with on the workstation run on the device."""
    from importlib.metadata import version

    found = {each.name: each.version for each in recipe.load().wheels}
    assert found == {name: version(name) for name in found}


def test_all_is_taken(tmp_path: Path) -> None:
    found = _load(tmp_path, TEXT)
    assert found.suite == "trixie"
    assert found.never == ("ssl",)
    assert found.wheels == (recipe.Wheel("thing", "1.0", ("0" * 64,)),)
    assert found.architecture("arm64").machine == "aarch64"


def test_packages_may_stand_in_for_wheels(tmp_path: Path) -> None:
    found = _load(tmp_path, TEXT)
    riscv64 = found.architecture("riscv64")
    assert (riscv64.packages, riscv64.without) == (("python3-thing",), ("thing",))
    assert found.architecture("arm64").packages == ()


def test_why_there_is_no_bundle(tmp_path: Path) -> None:
    found = _load(tmp_path, TEXT)
    says = "no bundle for 'mips'; architectures: arm64, riscv64"
    with pytest.raises(BundleError, match=says):
        found.architecture("mips")


@pytest.mark.parametrize(
    ("old", "new", "says"),
    [
        ('suite = "trixie"\n', "", "suite is missing"),
        ('suite = "trixie"', "suite = 13", "suite is not a text"),
        ('packages = ["libc6"]', "packages = [6]", "packages is not a list of texts"),
        ("also = []", "also = []\nalso_not = []", "modules.also_not is an unknown key"),
        ('"{digest}"', '"abc"', "sha256 of thing is not 64 hexadecimal digits"),
        ("libraries = []", "libraries = []\nfoo = 1", "foo is an unknown key"),
        ('suite = "trixie"', "suite =", "Invalid value"),
        ('machine = "aarch64"', 'machina = "aarch64"', "arm64.machina is an unknown key"),
    ],
)
def test_what_is_wrong_is_named(tmp_path: Path, old: str, new: str, says: str) -> None:
    with pytest.raises(BundleError, match=says) as caught:
        _load(tmp_path, TEXT.replace(old, new))
    assert "recipe.toml" in str(caught.value)


def test_a_recipe_that_is_not_there(tmp_path: Path) -> None:
    with pytest.raises(BundleError, match="No such file"):
        recipe.load(tmp_path / "none.toml")
