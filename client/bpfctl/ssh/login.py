# SPDX-License-Identifier: Apache-2.0
"""Logging in: keys of files and of the agent, then what the user types.

The order is that of ssh: keys that need no words first, then encrypted ones, then
keyboard-interactive and password.
"""

from __future__ import annotations

import base64
import binascii
import contextlib
import socket
import sys
from collections.abc import Iterator
from pathlib import Path

import paramiko

from bpfctl.errors import TargetUnreachable
from bpfctl.ssh.hostkeys import login
from bpfctl.ssh.prompt import Prompt, Unanswered
from bpfctl.ssh.settings import Settings
from bpfctl.ssh.transport import Transport

_CERTIFICATE = "-cert.pub"


class LoginFailed(Exception):
    """Nothing that could be shown opens the door."""


class Login:
    """One login over a transport that has been connected and whose host key is right."""

    def __init__(
        self,
        target: str,
        transport: Transport,
        settings: Settings,
        prompt: Prompt,
        closing: contextlib.ExitStack,
    ) -> None:
        self._target = target
        self._transport = transport
        self._settings = settings
        self._prompt = prompt
        self._closing = closing
        self._tried: list[str] = []
        self._allowed: set[str] = set()

    def do(self, *, passwords: bool) -> None:
        """Logs in; `passwords` False: none is sent. Raises TargetUnreachable."""
        try:
            self._transport.auth_none(self._settings.user)
            return
        except paramiko.BadAuthenticationType as error:
            self._allowed = set(error.allowed_types)
        except paramiko.AuthenticationException:
            # Some servers do not say what they would take.
            self._allowed = {"publickey", "keyboard-interactive", "password"}
        ways = {
            "publickey": self._by_key,
            "keyboard-interactive": self._by_questions,
            "password": self._by_password,
        }
        done: set[str] = set()
        while True:
            usable = [
                method
                for method in self._settings.methods
                if method in self._allowed
                and method not in done
                and (passwords or method == "publickey")
            ]
            if not usable:
                raise self._refused()
            done.add(usable[0])
            before = self._allowed
            if ways[usable[0]]() and self._transport.is_authenticated():
                return
            if self._allowed is not before:
                # One of several factors is through, and the server says what is next.
                done.clear()

    def _through(self, left: list[str]) -> bool:
        """A method has worked; `left`: what the server wants besides."""
        if left:
            self._allowed = set(left)
        return True

    def _by_key(self) -> bool:
        for label, key in self._keys():
            try:
                return self._through(self._transport.auth_publickey(self._settings.user, key))
            except paramiko.AuthenticationException:
                self._tried.append(label)
            except paramiko.SSHException as error:
                if not self._transport.is_active():
                    raise
                self._tried.append(f"{label} ({error})")
        return False

    def _keys(self) -> Iterator[tuple[str, paramiko.PKey]]:
        """Keys to try, each with a name for texts."""
        identities = list(self._settings.identities)
        first = identities[:1] if self._settings.chosen else []
        locked: list[str] = []
        yield from self._from_files(first, locked)
        yield from self._from_agent()
        yield from self._from_files(identities[len(first) :], locked)
        for path in locked:
            key = self._unlocked(path)
            if key is not None:
                yield from self._with_certificates(path, key)

    def _from_files(
        self, paths: list[str], locked: list[str]
    ) -> Iterator[tuple[str, paramiko.PKey]]:
        for path in paths:
            try:
                key = _key(path)
            except paramiko.PasswordRequiredException:
                locked.append(path)
                continue
            except (TypeError, ValueError) as error:
                # What cryptography raises for an encrypted key without its passphrase.
                if "password" in str(error).lower() or "passphrase" in str(error).lower():
                    locked.append(path)
                else:
                    self._tried.append(f"{path} ({error})")
                continue
            except (paramiko.SSHException, OSError) as error:
                self._tried.append(f"{path} ({error})")
                continue
            yield from self._with_certificates(path, key)

    def _unlocked(self, path: str) -> paramiko.PKey | None:
        """An encrypted key; None: nobody knows its passphrase."""
        for _ in range(self._settings.attempts):
            try:
                words = self._prompt.secret(f"Enter passphrase for key '{path}': ")
            except Unanswered:
                words = ""
            if not words:
                self._tried.append(f"{path} (it has a passphrase)")
                return None
            with contextlib.suppress(paramiko.SSHException, ValueError, TypeError):
                return _key(path, words.encode())
        self._tried.append(f"{path} (wrong passphrase)")
        return None

    def _with_certificates(
        self, path: str, key: paramiko.PKey
    ) -> Iterator[tuple[str, paramiko.PKey]]:
        """The key with each certificate that is for it, then by itself."""
        for certificate in (path + _CERTIFICATE, *self._settings.certificates):
            with contextlib.suppress(paramiko.SSHException, ValueError, OSError, TypeError):
                key.public_blob = None
                key.load_certificate(certificate)
                yield certificate, key
        key.public_blob = None
        yield path, key

    def _from_agent(self) -> Iterator[tuple[str, paramiko.PKey]]:
        wanted = _public_keys(self._settings.identities)
        for key in self._agent_keys():
            if self._settings.only_identities and key.asbytes() not in wanted:
                continue
            yield f"{key.comment or key.get_name()} of the agent", key

    def _agent_keys(self) -> tuple[paramiko.AgentKey, ...]:
        if not self._settings.agent:
            return ()
        agent = _Agent()
        self._closing.callback(agent.close)
        try:
            return agent.open(self._settings.agent)
        except (OSError, paramiko.SSHException):
            return ()

    def _by_questions(self) -> bool:
        if not self._prompt.possible:
            return False
        for _ in range(self._settings.attempts):
            try:
                return self._through(
                    self._transport.auth_interactive(self._settings.user, self._answers)
                )
            except Unanswered:
                return False
            except paramiko.AuthenticationException:
                self._tried.append("keyboard-interactive")
                if not self._transport.is_active():
                    break
        return False

    def _answers(
        self, title: str, instructions: str, questions: list[tuple[str, bool]]
    ) -> list[str]:
        for words in (title, instructions):
            if words.strip():
                print(words.strip(), file=sys.stderr)
        host = f"({self._settings.user}@{self._settings.name}) "
        return [
            self._prompt.visible(host + text) if echo else self._prompt.secret(host + text)
            for text, echo in questions
        ]

    def _by_password(self) -> bool:
        if not self._prompt.possible:
            return False
        text = f"{self._settings.user}@{self._settings.name}'s password: "
        for _ in range(self._settings.attempts):
            try:
                words = self._prompt.secret(text)
            except Unanswered:
                return False
            try:
                return self._through(
                    self._transport.auth_password(self._settings.user, words, fallback=False)
                )
            except paramiko.AuthenticationException:
                self._tried.append("password")
                if not self._transport.is_active():
                    break
                print("Permission denied, please try again.", file=sys.stderr)
        return False

    def _refused(self) -> TargetUnreachable:
        settings = self._settings
        tried = ", ".join(dict.fromkeys(self._tried)) or "there is none"
        asks = self._allowed & {"keyboard-interactive", "password"}
        if not asks:
            return TargetUnreachable(
                self._target,
                f"{settings.where} does not let {settings.user} in by key ({tried})",
                f"try `{login(settings)}`; it takes {', '.join(sorted(self._allowed))}",
            )
        if not self._prompt.possible:
            return TargetUnreachable(
                self._target,
                f"{settings.where} does not let {settings.user} in by key ({tried}), and "
                "nobody can be asked for a password",
                "run bpfctl in a terminal, or set a key up: "
                f"`{login(settings).replace('ssh ', 'ssh-copy-id ', 1)}`",
            )
        return TargetUnreachable(
            self._target, f"{settings.where} does not let {settings.user} in (tried: {tried})"
        )


def _key(path: str, passphrase: bytes | None = None) -> paramiko.PKey:
    # The passphrase goes on to cryptography, which takes bytes alone, whatever the stubs say.
    return paramiko.PKey.from_path(path, passphrase)  # type: ignore[arg-type]


class _Agent(paramiko.agent.AgentSSH):
    """An agent by the path of its socket."""

    def open(self, path: str) -> tuple[paramiko.AgentKey, ...]:
        connection = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
        try:
            connection.connect(path)
            self._connect(connection)  # type: ignore[attr-defined]
        except BaseException:
            connection.close()
            raise
        return self.get_keys()

    def close(self) -> None:
        self._close()  # type: ignore[attr-defined]


def _public_keys(identities: tuple[str, ...]) -> set[bytes]:
    """The public halves of key files, as far as they are there."""
    found = set()
    for path in identities:
        with contextlib.suppress(OSError, binascii.Error, IndexError, UnicodeDecodeError):
            words = Path(f"{path.removesuffix('.pub')}.pub").read_text("utf-8").split()
            found.add(base64.b64decode(words[1]))
    return found
