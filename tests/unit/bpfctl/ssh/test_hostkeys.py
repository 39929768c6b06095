# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import base64
from pathlib import Path

import pytest
from bpfctl.errors import TargetUnreachable
from bpfctl.ssh import hostkeys
from bpfctl.ssh.prompt import Prompt
from bpfctl.ssh.settings import Settings


class Key:
    """A host key of any bytes."""

    def __init__(self, data: bytes, kind: str = "ssh-ed25519") -> None:
        self._data, self._kind = data, kind

    def get_name(self) -> str:
        return self._kind

    def asbytes(self) -> bytes:
        return self._data

    @property
    def text(self) -> str:
        return f"{self._kind} {base64.b64encode(self._data).decode()}"


OURS, OTHER = Key(b"ours"), Key(b"other")


def settings(folder: Path, host: str = "board.lan", port: int = 22, **more: object) -> Settings:
    return Settings(
        host,
        host,
        port,
        "root",
        host,
        known_hosts=(str(folder / "known"),),
        **more,  # type: ignore[arg-type]
    )


def check(folder: Path, lines: str, key: Key = OURS, **more: object) -> bool:
    (folder / "known").write_text(lines)
    return hostkeys.check("t", settings(folder, **more), key, Prompt(batch=True))  # type: ignore[arg-type]


@pytest.mark.parametrize(
    ("names", "port"),
    [
        ("board.lan", 22),
        ("Board.LAN", 22),
        ("[board.lan]:22", 22),
        ("other,board.lan", 22),
        ("*.lan", 22),
        ("boar?.lan", 22),
        ("*,!other.lan", 22),
        ("[board.lan]:2222", 2222),
        ("[*.lan]:2222", 2222),
    ],
)
def test_names_that_mean_the_host(tmp_path: Path, names: str, port: int) -> None:
    assert check(tmp_path, f"# comment\n\n{names} {OURS.text} root@board\n", port=port)


@pytest.mark.parametrize(
    ("names", "port"),
    [
        ("board.lan", 2222),
        ("[board.lan]:2222", 22),
        ("*.lan,!board.lan", 22),
        ("board", 22),
        ("|1|broken", 22),
        ("|1|!!!!|!!!!", 22),
    ],
)
def test_names_that_mean_another(tmp_path: Path, names: str, port: int) -> None:
    with pytest.raises(TargetUnreachable, match="is not known"):
        check(tmp_path, f"{names} {OURS.text}\n", port=port)


def test_a_hashed_name(tmp_path: Path) -> None:
    """Made here as a new key is kept, and found again."""
    accepting = settings(tmp_path, strict="accept-new", hash_names=True)
    assert hostkeys.check("t", accepting, OURS, Prompt(batch=True))
    text = (tmp_path / "known").read_text()
    assert text.startswith("|1|")
    assert "board" not in text
    assert [entry.data for entry in hostkeys.known(accepting)] == [b"ours"]
    assert hostkeys.known(settings(tmp_path, host="other.lan")) == []


def test_one_of_several_keys_is_enough(tmp_path: Path) -> None:
    assert check(tmp_path, f"board.lan {OTHER.text}\nboard.lan {OURS.text}\n")


def test_another_key(tmp_path: Path) -> None:
    with pytest.raises(TargetUnreachable, match=r"known:2\).*ssh-keygen -R 'board.lan'"):
        check(tmp_path, f"\nboard.lan {OTHER.text}\n", strict="accept-new")


def test_another_key_where_nobody_cares(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    assert not check(tmp_path, f"board.lan {OTHER.text}\n", strict="no")
    assert "passwords are not sent" in capsys.readouterr().err


def test_markers(tmp_path: Path) -> None:
    both = f"board.lan {OURS.text}\n@revoked * {OURS.text}\n"
    with pytest.raises(TargetUnreachable, match="revoked"):
        check(tmp_path, both)
    with pytest.raises(TargetUnreachable, match="is not known"):
        check(tmp_path, f"@cert-authority *.lan {OURS.text}\n")


def test_damaged_lines_are_passed_over(tmp_path: Path) -> None:
    assert check(tmp_path, f"board.lan\nboard.lan ssh-rsa ???\nboard.lan {OURS.text}\n\x00\n")


def test_a_file_that_cannot_be_written(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = Path("/proc/nowhere")
    accepting = settings(folder, strict="accept-new")
    assert hostkeys.check("t", accepting, OURS, Prompt(batch=True))
    assert "cannot be kept" in capsys.readouterr().err


def test_the_fingerprint_is_that_of_ssh_keygen() -> None:
    key = Key(
        base64.b64decode("AAAAC3NzaC1lZDI1NTE5AAAAIOMqqnkVzrm0SdG6UOoqKLsabgH5C9okWi0dh2l9GKJl")
    )
    # github.com's key and its published fingerprint.
    assert hostkeys.fingerprint(key) == "SHA256:+DiY3wvvV6TuJJhbpZisF/zLDA0zPMSvHdkr4UvCOqU"
