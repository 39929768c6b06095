# SPDX-License-Identifier: Apache-2.0
"""Is this the host that it says it is? known_hosts, as sshd(8) describes the file."""

from __future__ import annotations

import base64
import binascii
import contextlib
import fnmatch
import hashlib
import hmac
import os
import sys
from dataclasses import dataclass
from pathlib import Path
from typing import Protocol

from bpfctl.errors import TargetUnreachable
from bpfctl.ssh.prompt import Prompt
from bpfctl.ssh.settings import Settings


class Key(Protocol):
    """The parts of `paramiko.PKey` that are used here."""

    def get_name(self) -> str: ...
    def asbytes(self) -> bytes: ...


@dataclass(frozen=True)
class Known:
    """A line of known_hosts that is about the host."""

    kind: str
    """"ssh-ed25519", ..."""
    data: bytes
    revoked: bool
    path: str
    line: int


def known(settings: Settings) -> list[Known]:
    """Every key that is known for the host. Keys of certificate authorities are none."""
    names = {settings.key_place.lower()}
    if settings.port == 22:
        names.add(f"[{settings.key_name.lower()}]:22")
    found = []
    for path in (*settings.known_hosts, *settings.system_known_hosts):
        try:
            text = Path(path).read_text("utf-8", errors="replace")
        except OSError:
            continue
        for number, line in enumerate(text.splitlines(), 1):
            entry = _entry(line, names, path, number)
            if entry is not None:
                found.append(entry)
    return found


def _entry(line: str, names: set[str], path: str, number: int) -> Known | None:
    words = line.split()
    if not words or words[0].startswith("#"):
        return None
    marker = words.pop(0) if words[0].startswith("@") else ""
    if marker == "@cert-authority" or len(words) < 3 or not _matches(words[0], names):
        return None
    try:
        data = base64.b64decode(words[2], validate=True)
    except binascii.Error:
        return None
    return Known(words[1], data, marker == "@revoked", path, number)


def _matches(patterns: str, names: set[str]) -> bool:
    """Whether a comma-separated list, or a hashed name, means one of the names."""
    if patterns.startswith("|1|"):
        salt, _, wanted = patterns[3:].partition("|")
        with contextlib.suppress(binascii.Error):
            return any(
                hmac.digest(base64.b64decode(salt), name.encode(), "sha1")
                == base64.b64decode(wanted)
                for name in names
            )
        return False
    found = False
    for pattern in patterns.lower().split(","):
        # Brackets are no wildcards here: "[host]:port".
        plain = pattern.lstrip("!").replace("[", "[[]")
        if any(fnmatch.fnmatchcase(name, plain) for name in names):
            if pattern.startswith("!"):
                return False
            found = True
    return found


def check(target: str, settings: Settings, key: Key, prompt: Prompt) -> bool:
    """Raises TargetUnreachable unless the host's key is accepted.

    False: it is another one than is known, and the configuration says not to care
    (StrictHostKeyChecking no): passwords must not be sent there, as ssh has it.
    """
    entries = known(settings)
    data = key.asbytes()
    if any(entry.revoked and entry.data == data for entry in entries):
        raise TargetUnreachable(
            target, f"the host key of {settings.where} is marked as revoked"
        )
    entries = [entry for entry in entries if not entry.revoked]
    if any(entry.data == data for entry in entries):
        return True
    if entries:
        return _changed(target, settings, entries)
    _accept_new(target, settings, key, prompt)
    return True


def _changed(target: str, settings: Settings, entries: list[Known]) -> bool:
    where = f"{entries[0].path}:{entries[0].line}"
    if settings.strict == "no":
        print(
            f"bpfctl: warning: the host key of {settings.where} is not the one in {where}; "
            "StrictHostKeyChecking is off, passwords are not sent",
            file=sys.stderr,
        )
        return False
    raise TargetUnreachable(
        target,
        f"the host key of {settings.where} is not the one in known_hosts ({where})",
        "someone may be in between; if the host was set up anew: "
        f"`ssh-keygen -R '{settings.key_place}' -f {entries[0].path}`",
    )


def fingerprint(key: Key) -> str:
    """As `ssh-keygen -l` shows it."""
    digest = base64.b64encode(hashlib.sha256(key.asbytes()).digest()).decode().rstrip("=")
    return f"SHA256:{digest}"


def _accept_new(target: str, settings: Settings, key: Key, prompt: Prompt) -> None:
    shown = f"{_kind(key)} key {fingerprint(key)}"
    if settings.strict == "yes" or (settings.strict == "ask" and not prompt.possible):
        raise TargetUnreachable(
            target,
            f"the host key of {settings.where} is not known ({shown})",
            f"look at it and accept it once: `{login(settings)}`, or run bpfctl in a terminal",
        )
    if settings.strict == "ask":
        text = (
            f"The authenticity of host '{settings.where}' can't be established.\n"
            f"{shown}.\n"
            "Are you sure you want to continue connecting (yes/no/[fingerprint])? "
        )
        while (answer := prompt.visible(text).strip()) not in ("yes", fingerprint(key)):
            if answer in ("no", ""):
                raise TargetUnreachable(
                    target, f"the host key of {settings.where} was not accepted"
                )
            text = "Please type 'yes', 'no' or the fingerprint: "
    _remember(settings, key)


def login(settings: Settings) -> str:
    """The command of a login by hand."""
    port = f"-p {settings.port} " if settings.port != 22 else ""
    return f"ssh {port}{settings.user}@{settings.name}"


def _kind(key: Key) -> str:
    return key.get_name().removeprefix("ssh-").partition("-")[0].upper()


def _remember(settings: Settings, key: Key) -> None:
    """Adds the key to the first known_hosts file; a file that cannot be written is no harm."""
    if not settings.known_hosts:
        return
    path = Path(settings.known_hosts[0])
    name = settings.key_place
    if settings.hash_names:
        salt = os.urandom(20)
        digest = hmac.digest(salt, name.encode(), "sha1")
        name = "|1|" + "|".join(base64.b64encode(part).decode() for part in (salt, digest))
    line = f"{name} {key.get_name()} {base64.b64encode(key.asbytes()).decode()}\n"
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        torn = path.is_file() and path.stat().st_size and not path.read_bytes().endswith(b"\n")
        with path.open("a") as file:
            file.write(f"\n{line}" if torn else line)
        said = f"added {settings.key_place} ({_kind(key)}) to {path}"
    except OSError as error:
        said = f"the host key cannot be kept in {path}: {error.strerror}"
    print(f"bpfctl: {said}", file=sys.stderr)
