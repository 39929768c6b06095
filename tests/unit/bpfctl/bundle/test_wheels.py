# SPDX-License-Identifier: Apache-2.0
"""Pinned wheels come from the cache, else from pip, and only with the right hash."""

from __future__ import annotations

import hashlib
import sys
from pathlib import Path

import pytest
from bpfctl.bundle import BundleError
from bpfctl.bundle.recipe import Wheel
from bpfctl.bundle.wheels import distribution, fetch

DATA = b"a wheel"
WHEEL = Wheel("some-thing", "1.0", (hashlib.sha256(DATA).hexdigest(),))


@pytest.fixture
def pip(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A Python whose pip does what the returned script says."""
    script = tmp_path / "python"
    script.write_text("#!/bin/sh\nexit 99\n")
    script.chmod(0o755)
    monkeypatch.setattr(sys, "executable", str(script))
    return script


def test_names_of_files() -> None:
    assert distribution("grpcio-health-checking") == "grpcio_health_checking"
    assert distribution("Foo.Bar__baz") == "foo_bar_baz"


def test_a_cached_one_needs_no_pip(tmp_path: Path, pip: Path) -> None:
    folder = tmp_path / "wheels"
    folder.mkdir()
    path = folder / "some_thing-1.0-py3-none-any.whl"
    path.write_bytes(DATA)
    (found,) = fetch([WHEEL], "aarch64", "3.13", folder)
    assert (found.path, found.sha256) == (path, WHEEL.sha256[0])


def test_pip_is_asked_for_the_platform_with_hashes(tmp_path: Path, pip: Path) -> None:
    pip.write_text(
        "#!/bin/sh\n"
        f'echo "$@" > {tmp_path}/asked\n'
        'while [ "$1" != --dest ]; do shift; done\n'
        f"cat $2/wanted.txt >> {tmp_path}/asked\n"
        'printf "a wheel" > $2/some_thing-1.0-cp313-cp313-linux_armv7l.whl\n'
    )
    folder = tmp_path / "wheels"
    (found,) = fetch([WHEEL], "armv7l", "3.13", folder)
    assert found.path.name == "some_thing-1.0-cp313-cp313-linux_armv7l.whl"
    asked = (tmp_path / "asked").read_text()
    assert "--require-hashes" in asked
    assert "--platform linux_armv7l" in asked
    assert "--abi cp313" in asked
    assert f"some-thing==1.0 --hash=sha256:{WHEEL.sha256[0]}" in asked


def test_a_damaged_one_is_fetched_again_and_still_refused(tmp_path: Path, pip: Path) -> None:
    pip.write_text(
        '#!/bin/sh\nwhile [ "$1" != --dest ]; do shift; done\n'
        'printf "another" > $2/some_thing-1.0-py3-none-any.whl\n'
    )
    folder = tmp_path / "wheels"
    with pytest.raises(BundleError, match=r"no file of some-thing 1\.0"):
        fetch([WHEEL], "aarch64", "3.13", folder)


def test_without_pip_it_says_how_to_get_it(tmp_path: Path, pip: Path) -> None:
    pip.write_text('#!/bin/sh\necho "$0: No module named pip" >&2\nexit 1\n')
    with pytest.raises(BundleError, match=r"has none.*ensurepip"):
        fetch([WHEEL], "aarch64", "3.13", tmp_path / "wheels")


def test_pips_first_error_is_told(tmp_path: Path, pip: Path) -> None:
    pip.write_text(
        '#!/bin/sh\necho "WARNING: x" >&2\necho "ERROR: no network" >&2\n'
        'echo "ERROR: No matching distribution" >&2\nexit 1\n'
    )
    with pytest.raises(BundleError, match="wheels for aarch64 cannot be fetched: no network"):
        fetch([WHEEL], "aarch64", "3.13", tmp_path / "wheels")
