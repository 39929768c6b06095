# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import pytest

from bpfd import __version__
from bpfd.__main__ import main, read_only_socket


def test_version(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit) as caught:
        main(["--version"])
    assert caught.value.code == 0
    assert capsys.readouterr().out == f"bpfd {__version__}\n"


def test_help_has_the_exit_codes(capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(SystemExit):
        main(["--help"])
    text = capsys.readouterr().out
    for code in ("69", "73", "75", "77"):
        assert f"\n  {code}  " in text


@pytest.mark.parametrize(
    ("arguments", "words"),
    [
        ([], "COMMAND"),
        (["serve", "--listen", "localhost:1"], "TCP is never insecure"),
        (["serve", "--listen", "x:1", "--tls-ca", "a", "--tls-cert", "b"], "--tls-key"),
        (["serve", "--tls-key", "file"], "need --listen"),
        (["serve", "--socket", "/x", "--read-only-socket", "/x"], "another path"),
        (["serve", "--idle-exit", "0"], "positive"),
        (["serve", "--idle-exit", "soon"], "invalid float"),
        (["steal"], "invalid choice"),
    ],
)
def test_wrong_arguments(
    capsys: pytest.CaptureFixture[str], arguments: list[str], words: str
) -> None:
    with pytest.raises(SystemExit) as caught:
        main(arguments)
    assert caught.value.code == 2
    assert words in capsys.readouterr().err


@pytest.mark.parametrize(
    ("path", "beside"),
    [
        ("/run/bpfd/bpfd.sock", "/run/bpfd/bpfd-ro.sock"),
        ("/run/my.d/socket", "/run/my.d/socket-ro"),
        ("here.sock", "here-ro.sock"),
    ],
)
def test_the_socket_of_viewers(path: str, beside: str) -> None:
    assert read_only_socket(path) == beside
