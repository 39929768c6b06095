# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from collections.abc import Iterator
from hashlib import sha256
from pathlib import Path

import bpfctl
import pytest
from bpfctl import btf_store
from bpfctl.errors import CallFailed, NotSupported

from tests.unit.bpfctl.fake_daemon import BOOT_ID, FakeDaemon

# A header with no types and one empty string.
EMPTY = (0xEB9F).to_bytes(2, "little") + b"\1\0" + (24).to_bytes(4, "little") + b"\0" * 12
EMPTY += (1).to_bytes(4, "little") + b"\0"


@pytest.fixture
def fake(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[FakeDaemon]:
    monkeypatch.setenv("BPFCTL_CACHE_DIR", str(tmp_path / "cache"))
    with FakeDaemon(f"unix:{tmp_path}/s") as fake:
        fake.target.btf = {0: EMPTY, 7: EMPTY}
        fake.target.info.btf_sha256 = sha256(EMPTY).digest()
        fake.target.info.btf_size = len(EMPTY)
        yield fake


def test_kernel_btf_is_fetched_once_for_all_connections(
    fake: FakeDaemon, tmp_path: Path
) -> None:
    for _ in range(2):
        with bpfctl.connect(f"unix:{tmp_path}/s") as target:
            assert target.btf.kernel_bytes() == EMPTY
    assert fake.target.btf_calls == 1


def test_btf_of_an_object_is_kept_by_boot_and_id(fake: FakeDaemon, tmp_path: Path) -> None:
    for _ in range(2):
        with bpfctl.connect(f"unix:{tmp_path}/s") as target:
            assert target.btf.of_id(7) is target.btf.of_id(7)
    assert fake.target.btf_calls == 1
    fake.target.info.boot_id = "another"
    with bpfctl.connect(f"unix:{tmp_path}/s") as target:
        target.btf.of_id(7)
    assert fake.target.btf_calls == 2
    assert (tmp_path / "cache" / "btf" / f"boot-{BOOT_ID}" / "7.btf").read_bytes() == EMPTY


def test_cut_file_in_the_cache_is_fetched_again(fake: FakeDaemon, tmp_path: Path) -> None:
    folder = tmp_path / "cache" / "btf"
    folder.mkdir(parents=True)
    (folder / f"{sha256(EMPTY).hexdigest()}.btf").write_bytes(EMPTY[:5])
    with bpfctl.connect(f"unix:{tmp_path}/s") as target:
        assert target.btf.kernel_bytes() == EMPTY


def test_other_hash_than_said_is_refused(fake: FakeDaemon, tmp_path: Path) -> None:
    fake.target.btf[0] = EMPTY + b"x"
    with (
        bpfctl.connect(f"unix:{tmp_path}/s") as target,
        pytest.raises(CallFailed, match="another hash"),
    ):
        target.btf.kernel_bytes()
    assert not list((tmp_path / "cache").rglob("*.btf"))


def test_kernel_without_btf(fake: FakeDaemon, tmp_path: Path) -> None:
    fake.target.info.btf_sha256 = b""
    with (
        bpfctl.connect(f"unix:{tmp_path}/s") as target,
        pytest.raises(NotSupported, match="CONFIG_DEBUG_INFO_BTF"),
    ):
        target.btf.kernel_bytes()


def test_cache_that_cannot_be_written_is_no_error(
    fake: FakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("BPFCTL_CACHE_DIR", str(tmp_path / "file"))
    with bpfctl.connect(f"unix:{tmp_path}/s") as target:
        assert target.btf.kernel_bytes() == EMPTY


def test_old_files_of_a_boot_are_dropped(
    fake: FakeDaemon, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(btf_store, "_KEEP_FILES", 4)
    fake.target.btf = dict.fromkeys(range(1, 20), EMPTY)
    with bpfctl.connect(f"unix:{tmp_path}/s") as target:
        for number in range(1, 20):
            target.btf.of_id(number)
    assert 1 <= len(list((tmp_path / "cache").rglob("*.btf"))) <= 4
