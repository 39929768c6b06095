# SPDX-License-Identifier: Apache-2.0
"""`target up`: a daemon where nothing is installed."""

from __future__ import annotations

import dataclasses
import time
from contextlib import closing
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from bpfctl.bootstrap import daemon, installed, place, scripts, source
from bpfctl.bootstrap.architecture import debian_architecture
from bpfctl.bootstrap.errors import BootstrapFailed
from bpfctl.bootstrap.facts import Facts, Home, learn
from bpfctl.bootstrap.layout import CANDIDATES, MAX_HOME_BYTES
from bpfctl.bootstrap.send import Cut, send
from bpfctl.bootstrap.shell import Shell, open_shell
from bpfctl.config import AdbTarget, SshTarget, TargetConfig
from bpfctl.errors import InvalidArgument, PermissionMissing, TargetUnreachable
from bpfctl.progress import Progress, silent

if TYPE_CHECKING:
    from bpfd.v1 import target_pb2

SUDO = "sudo -n"

_ATTEMPTS = 5
"""How often a connection may break in a row before an upload is given up."""


@dataclass(frozen=True)
class Wanted:
    """What is asked for."""

    bundle: Path | None = None
    """A bundle's file; None: the one that is built for the target's architecture."""
    arch: str = ""
    """In Debian's words; empty: as the target says."""
    home: str = ""
    """A folder there; empty: where it is, else the best one."""


USUAL = Wanted()


@dataclass(frozen=True)
class Up:
    """A target whose daemon answers."""

    config: TargetConfig
    """With the home, to be kept under the target's name."""
    info: target_pb2.TargetInfo
    sent: int
    """Bytes that were sent for it."""
    started: bool
    """False: it was running already."""
    installed: bool = False
    """Whether the daemon is one that was installed on the target by other means."""


def up(
    name: str,
    config: TargetConfig,
    wanted: Wanted = USUAL,
    *,
    progress: Progress = silent,
    timeout: float = 10.0,
) -> Up:
    """Puts a daemon on a target, starts it, and asks it what the target is.

    What is there already is used. A connection that breaks during the upload is made anew.
    Raises the kinds of `bpfctl.errors` and BootstrapFailed.
    """
    check_home(wanted.home)
    attempts = sent = 0
    while True:
        try:
            with closing(open_shell(name, config, timeout)) as shell:
                done = _Up(shell, config, wanted, progress).do()
                return dataclasses.replace(done, sent=sent + done.sent)
        except _NeedsSudo:
            assert isinstance(config, SshTarget)
            config = dataclasses.replace(config, become=SUDO)
        except Cut as cut:
            sent += cut.sent
            attempts = 1 if cut.sent else attempts + 1
            if attempts > _ATTEMPTS:
                raise cut.error from None
            time.sleep(attempts)
        except TargetUnreachable:
            # One that has been restarted needs a while; one that never answered does not.
            if attempts == 0 or attempts > _ATTEMPTS:
                raise
            attempts += 1
            time.sleep(attempts)


def check_home(home: str) -> None:
    """Raises InvalidArgument where a path cannot be a home."""
    if home and (not home.startswith("/") or home.rstrip("/") in ("", "/tmp", "/var")):
        raise InvalidArgument(
            "home", f"{home!r} is not an absolute path of a folder of its own"
        )
    if len(home.encode()) > MAX_HOME_BYTES or any(character in home for character in "\n'\""):
        raise InvalidArgument(
            "home", f"{home!r} has more than {MAX_HOME_BYTES} bytes or quotes"
        )


class _NeedsSudo(Exception):
    """The user who has logged in can do nothing, and may become root by sudo."""


class _Up:
    def __init__(
        self, shell: Shell, config: TargetConfig, wanted: Wanted, progress: Progress
    ) -> None:
        assert isinstance(config, SshTarget | AdbTarget)
        self._shell = shell
        self._config = config
        self._wanted = wanted
        self._progress = progress

    def do(self) -> Up:
        facts, home = look(self._shell, self._config, self._wanted.home)
        if home is None and not self._wanted.home and self._wanted.bundle is None:
            found = installed.find(self._shell, self._config, facts)
            if found is not None:
                return Up(self._config, found.info, 0, found.started, installed=True)
        if facts.sudo and not facts.privileged and isinstance(self._config, SshTarget):
            raise _NeedsSudo
        check_rights(self._shell, facts)
        if home is not None and home.pid:
            return self._answer(home.path, 0, started=False)
        bundle = choose_bundle(self._shell, facts, self._wanted, self._progress)
        named = bool(self._wanted.home)
        home, sent = bring(self._shell, facts, home, bundle, self._progress, named=named)
        try:
            daemon.start(self._shell, home.path, bundle.sha256)
        except BootstrapFailed:
            self._take_back(home)
            raise
        make_current(self._shell, home.path, bundle.sha256)
        return self._answer(home.path, sent, started=True)

    def _take_back(self, home: Home) -> None:
        """A bundle that does not start goes; so does a home that had none before."""
        if home.current:
            make_current(self._shell, home.path, home.current)
        else:
            scripts.run(self._shell, "purge", home.path)

    def _answer(self, home: str, sent: int, *, started: bool) -> Up:
        with daemon.asked(self._shell, home) as target:
            info = target.info()
        return Up(dataclasses.replace(self._config, home=home), info, sent, started)


def look(
    shell: Shell, config: SshTarget | AdbTarget, wanted: str = ""
) -> tuple[Facts, Home | None]:
    """A target, and the home that is there: where it should be, else at a usual place."""
    expected = wanted or config.home
    candidates = (wanted,) if wanted else CANDIDATES
    facts = learn(shell, expected, candidates, make_parents=bool(wanted))
    if not facts.boot:
        raise BootstrapFailed(shell.name, "/proc is not there", "mount -t proc proc /proc")
    home = facts.home(expected) if expected else None
    if home is None and not wanted and facts.homes:
        home = max(facts.homes, key=lambda each: (each.pid != 0, each.boot == facts.boot))
    return facts, home


def check_rights(shell: Shell, facts: Facts) -> None:
    """Raises PermissionMissing where a daemon could do nothing."""
    if not facts.privileged:
        raise PermissionMissing(
            "root, or CAP_BPF, CAP_PERFMON, CAP_NET_ADMIN and CAP_SYS_ADMIN",
            f"user id {facts.uid} without them: log in as root, or let that user run sudo "
            "without a password",
            f"a daemon on {shell.name}",
        )


def choose_bundle(
    shell: Shell, facts: Facts, wanted: Wanted, progress: Progress
) -> source.Source:
    """The bundle for a target. Raises NotSupported, InvalidArgument, or what building says."""
    arch = wanted.arch or debian_architecture(facts.machine, facts.cpu)
    if wanted.bundle is None:
        return source.built(arch, progress)
    found = source.from_file(wanted.bundle)
    if found.arch != arch:
        raise InvalidArgument(
            str(wanted.bundle), f"it is for {found.arch}, and {shell.name} is {arch}"
        )
    return found


def bring(
    shell: Shell,
    facts: Facts,
    home: Home | None,
    bundle: source.Source,
    progress: Progress,
    *,
    named: bool = False,
) -> tuple[Home, int]:
    """Sends the bundle to the home, or to a new one; gives the home and the bytes sent.

    `named`: the user has said which folder becomes the new one.
    """
    packed, unpacked = bundle.packed, bundle.unpacked
    if home is None:
        choice = place.choose(shell.name, facts, packed, unpacked, named=named)
        home, streamed = Home(choice.path), choice.streamed
    elif bundle.sha256 in home.bundles or home.uploads:
        streamed = False
    else:
        streamed = place.streamed_to(shell.name, facts, home.path, packed, unpacked)
    return home, send(shell, home, bundle, streamed=streamed, progress=progress)


def make_current(shell: Shell, home: str, sha256: str) -> None:
    """Makes a bundle the one that is started, and removes all others."""
    done = scripts.run(shell, "choose", home, sha256)
    if done.status != 0:
        raise BootstrapFailed(shell.name, f"{home}/current cannot be written: {done.words}")
