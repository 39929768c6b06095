# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from bpfctl import config
from bpfctl.errors import InvalidArgument, NotFound


@pytest.fixture(autouse=True)
def _own_folder(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BPFCTL_CONFIG_DIR", str(tmp_path / "config"))
    for name in ("BPFCTL_TARGET", "BPFCTL_SOCKET", "ANDROID_SERIAL"):
        monkeypatch.delenv(name, raising=False)


def test_local_needs_no_file(monkeypatch: pytest.MonkeyPatch) -> None:
    assert config.resolve() == ("local", config.LocalTarget("/run/bpfd/bpfd.sock"))
    monkeypatch.setenv("BPFCTL_SOCKET", "/tmp/x")
    assert config.resolve() == ("local", config.LocalTarget("/tmp/x"))


def test_targets_come_back_as_saved() -> None:
    targets: dict[str, config.TargetConfig] = {
        "here": config.LocalTarget("/tmp/s"),
        "board": config.SshTarget("board.lan", "root", 2222, "/opt/bpfd dial-stdio"),
        "phone": config.AdbTarget("emulator-5554", "/data/local/tmp/bpfd"),
        "any": config.AdbTarget(),
        "keyed": config.SshTarget("h", identity="/key", known_hosts="/hosts", home="/h"),
        "edge": config.TcpTarget("::1", 9843, "/ca", "/cert", "/key"),
    }
    path = config.save_targets(targets)
    assert config.load_targets() == targets
    assert path.stat().st_mode & 0o077 == 0
    assert [entry.address for entry in targets.values()] == [
        "/tmp/s",
        "root@board.lan:2222",
        "emulator-5554",
        "(the only device)",
        "h",
        "[::1]:9843",
    ]


def test_usual_values_are_not_written() -> None:
    path = config.save_targets({"any": config.AdbTarget(), "b": config.SshTarget("h")})
    assert path.read_text() == (
        '[targets.any]\ntransport = "adb"\n\n[targets.b]\ntransport = "ssh"\nhost = "h"\n'
    )


def test_changes_wait_for_each_other() -> None:
    def add(number: int) -> None:
        with config.changing_targets() as targets:
            targets[f"t{number}"] = config.LocalTarget(str(number))

    with ThreadPoolExecutor(8) as pool:
        list(pool.map(add, range(32)))
    assert len(config.load_targets()) == 32


def test_nothing_is_saved_after_a_failure() -> None:
    with pytest.raises(ZeroDivisionError), config.changing_targets() as targets:
        targets["x"] = config.LocalTarget(str(1 // 0))
    assert config.load_targets() == {}


def test_choice_by_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    config.save_targets({"board": config.SshTarget("board.lan")})
    monkeypatch.setenv("BPFCTL_TARGET", "board")
    assert config.resolve()[0] == "board"
    assert config.resolve("local")[0] == "local"


def test_addresses_are_targets_too() -> None:
    assert config.resolve("unix:/tmp/a b")[1] == config.LocalTarget("/tmp/a b")
    assert config.resolve("ssh://pi@10.0.0.1:22")[1] == config.SshTarget("10.0.0.1", "pi", 22)
    assert config.resolve("adb:abc")[1] == config.AdbTarget("abc")


def test_unknown_target_names_near_ones() -> None:
    config.save_targets({"board": config.SshTarget("board.lan")})
    with pytest.raises(NotFound, match=r"did you mean board\?.*target add"):
        config.resolve("baord")


@pytest.mark.parametrize(
    ("text", "why"),
    [
        ("[targets", "TOML"),
        ('[targets.x]\ntransport = "carrier pigeon"', "transport must be one of"),
        ('[targets.x]\ntransport = "ssh"', "needs host"),
        ('[targets.x]\ntransport = "ssh"\nhost = 7', "wrong type"),
        ('[targets.x]\ntransport = "ssh"\nhost = "a"\nhots = "b"', "no such setting: hots"),
        ("targets.x = 1", "not a table"),
    ],
)
def test_damaged_file(text: str, why: str) -> None:
    config.config_dir().mkdir()
    (config.config_dir() / "targets.toml").write_text(text)
    with pytest.raises(InvalidArgument, match=why):
        config.load_targets()


@pytest.mark.parametrize(
    ("text", "host"),
    [
        ("a", ("a", 5)),
        ("a:7", ("a", 7)),
        ("[::1]", ("::1", 5)),
        ("[::1]:7", ("::1", 7)),
        ("fe80::1", ("fe80::1", 5)),
    ],
)
def test_hosts(text: str, host: tuple[str, int]) -> None:
    assert config.parse_host(text, 5) == host


@pytest.mark.parametrize("text", ["", "a:b", "a:70000", "[::1", "a:1:2"])
def test_bad_hosts(text: str) -> None:
    with pytest.raises(InvalidArgument):
        config.parse_host(text)


@pytest.mark.parametrize("name", ["", "a/b", "-x", "a b", "x" * 65])
def test_bad_names(name: str) -> None:
    with pytest.raises(InvalidArgument):
        config.check_name(name)
