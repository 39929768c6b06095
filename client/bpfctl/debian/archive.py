# SPDX-License-Identifier: Apache-2.0
"""One suite and architecture of Debian's archive."""

from __future__ import annotations

import fcntl
import os
import re
import shutil
import subprocess
import time
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from urllib.parse import unquote

from bpfctl.config import cache_dir
from bpfctl.progress import Progress, silent

from . import tree
from .errors import ArchiveError
from .sources import INDEX_FORMAT, KEYRINGS, MIRROR_VARIABLE, source_list, sources

_URI_LINE = re.compile(
    r"'(?P<uri>[^']+)' (?P<file>\S+) (?P<size>\d+) ?(?:SHA256:(?P<sha256>[0-9a-f]{64}))?"
)
_STATUS_LINE = re.compile(r"dlstatus:[^:]*:(?P<percent>[0-9.]+):")


@dataclass(frozen=True, order=True)
class Package:
    """A package file of the archive."""

    name: str
    version: str
    arch: str
    """As the file says: "all" for packages of every architecture."""
    size: int
    """Bytes of the file."""
    sha256: str

    @property
    def file(self) -> str:
        """Name of the file, as apt keeps it."""
        return f"{self.name}_{self.version.replace(':', '%3a')}_{self.arch}.deb"


class Archive:
    """Packages of `suite` ("trixie", "sid") for `arch` ("amd64", "arm64", "armhf", ...).

    The first use fetches the lists of packages. Raises ArchiveError.
    """

    def __init__(self, suite: str, arch: str) -> None:
        if not re.fullmatch(r"[a-z][a-z0-9-]*", suite) or arch not in tree.TRIPLETS:
            known = ", ".join(tree.TRIPLETS)
            raise ArchiveError(f"there is no {suite} for {arch}", f"architectures: {known}")
        self.suite = suite
        self.arch = arch
        self._folder = cache_dir() / "debian" / f"{suite}-{arch}"
        self._known: dict[tuple[str, ...], list[Package]] = {}

    @property
    def triplet(self) -> str:
        """Name of the folder of libraries: "aarch64-linux-gnu"."""
        return tree.TRIPLETS[self.arch]

    def refresh(self) -> None:
        """Fetch the lists of packages again."""
        with self._locked():
            self._update()

    def updated(self) -> str:
        """When the lists of packages were fetched: what is found changes only with this."""
        with self._locked():
            return (self._folder / "updated").read_text().strip()

    def closure(self, *names: str) -> list[Package]:
        """These packages and all that they depend on, in the order of their names.

        Recommended packages are left out.
        """
        found = self._ask("install", "--no-install-recommends", *names)
        # Here apt prints no SHA-256, for single packages it does.
        return self.packages(*(f"{each.name}={each.version}" for each in found))

    def packages(self, *names: str) -> list[Package]:
        """These packages ("NAME" or "NAME=VERSION") alone, in the order of their names."""
        return self._ask("download", *names)

    def fields(self, name: str) -> dict[str, str]:
        """The newest version's entry in the list of packages, such as "Depends"."""
        with self._locked():
            text = self._run("apt-cache", "show", "--no-all-versions", name).stdout
        found: dict[str, str] = {}
        key = ""
        for line in text.split("\n\n", 1)[0].splitlines():
            if line[:1] in " \t":
                found[key] += "\n" + line.strip()
            else:
                key, _, value = line.partition(":")
                found[key] = value.strip()
        return found

    def download(
        self, packages: Sequence[Package], progress: Progress = silent
    ) -> dict[str, Path]:
        """The package files by the packages' names, verified by apt; kept until `forget`."""
        with self._locked():
            missing = [each for each in packages if not self._is_here(each)]
            if missing:
                self._fetch(missing, progress)
        return {each.name: self._deb(each) for each in packages}

    def forget(self, packages: Sequence[Package]) -> None:
        """Remove package files that were downloaded."""
        for each in packages:
            self._deb(each).unlink(missing_ok=True)

    def tree(self, *names: str, closure: bool = True, progress: Progress = silent) -> Path:
        """A folder with the files of these packages, and of what they depend on.

        It looks like a root with /bin, /lib and /sbin merged into /usr. It is kept and
        shared: nothing may be changed in it. Nothing in it has been run or configured.
        """
        packages = self.closure(*names) if closure else self.packages(*names)
        return self.unpacked(packages, progress)

    def unpacked(self, packages: Sequence[Package], progress: Progress = silent) -> Path:
        """As `tree`, for packages that were found before."""
        place = cache_dir() / "debian" / "trees" / tree.key(each.sha256 for each in packages)
        if not place.is_dir():
            files = self.download(packages, progress)
            tree.unpack([files[each.name] for each in packages], place)
        return place

    def _ask(self, *words: str) -> list[Package]:
        if words not in self._known:
            with self._locked():
                self._known[words] = self._resolve(words)
        return self._known[words]

    def _resolve(self, words: Sequence[str]) -> list[Package]:
        done = self._run("apt-get", "-qq", "--print-uris", "--yes", *words, check=False)
        found = sorted(
            _package(match) for match in map(_URI_LINE.match, done.stdout.splitlines()) if match
        )
        if done.returncode or not found:
            names = " ".join(word for word in words[1:] if not word.startswith("-"))
            raise ArchiveError(
                f"{self.suite} for {self.arch} cannot give {names}: {_reason(done.stderr)}"
            )
        return found

    def _fetch(self, missing: Sequence[Package], progress: Progress) -> None:
        command = [f"{each.name}={each.version}" for each in missing]
        what = missing[0].name if len(missing) == 1 else f"{len(missing)} packages"
        total = sum(each.size for each in missing)
        free = shutil.disk_usage(self._folder).free
        if free < 2 * total:
            raise ArchiveError(
                f"{self._folder} has {free >> 20} MiB left, {what} needs {2 * total >> 20} MiB",
                "make room, or set BPFCTL_CACHE_DIR to another folder",
            )
        if self._get(command, what, total, progress):
            return
        # The archive has moved on since the lists were fetched.
        self._update()
        if not self._get(command, what, total, progress):
            raise ArchiveError(
                f"{what} cannot be fetched: {self._said}",
                "does `apt-get update` work on this machine? If the package was replaced"
                " by a newer one meanwhile, try again",
            )

    def _get(self, command: Sequence[str], what: str, total: int, progress: Progress) -> bool:
        arguments = ["apt-get", "-qq", "-o", "APT::Status-Fd=1", "download", *command]
        progress(what, 0, total)
        with subprocess.Popen(
            [arguments[0], *self._options, *arguments[1:]],
            cwd=self._debs,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            env=_environment(),
        ) as running:
            assert running.stdout is not None
            said = []
            last = 0
            for line in running.stdout:
                status = _STATUS_LINE.match(line)
                if status:
                    done = int(float(status["percent"]) * total / 100)
                    if done > last:
                        progress(what, done, total)
                    last = max(last, done)
                elif line.strip():
                    said.append(line.strip())
        self._said = _reason("\n".join(said))
        if running.returncode == 0:
            progress(what, total, total)
        return running.returncode == 0

    def _deb(self, package: Package) -> Path:
        return self._debs / package.file

    def _is_here(self, package: Package) -> bool:
        try:
            return self._deb(package).stat().st_size == package.size
        except OSError:
            return False

    @property
    def _debs(self) -> Path:
        return self._folder / "debs"

    @cached_property
    def _options(self) -> list[str]:
        folder = self._folder
        settings = {
            "Dir::Etc::sourcelist": folder / "sources.list",
            "Dir::Etc::sourceparts": "/dev/null",
            "Dir::Etc::preferences": "/dev/null",
            "Dir::Etc::preferencesparts": "/dev/null",
            "Dir::State": folder / "state",
            "Dir::State::status": folder / "status",
            "Dir::Cache": folder / "cache",
            "APT::Architecture": self.arch,
            "APT::Architectures": self.arch,
            "APT::Default-Release": "",
            "APT::Update::Post-Invoke-Success": "true",
            "APT::Update::Post-Invoke": "true",
            "Acquire::Languages": "none",
            "Acquire::Retries": "3",
            # The folders are the user's own; apt's unprivileged user could not write there.
            "APT::Sandbox::User": "",
        }
        return [word for key, value in settings.items() for word in ("-o", f"{key}={value}")]

    @contextmanager
    def _locked(self) -> Iterator[None]:
        """Only one process at a time uses these folders; they are there inside."""
        for program, package in (("apt-get", "apt"), ("dpkg-deb", "dpkg")):
            if shutil.which(program) is None:
                raise ArchiveError(
                    f"Debian's packages are fetched with {program}, and there is none",
                    f"on Debian and Ubuntu it is part of {package}; on other systems use a"
                    " container of Debian",
                )
        self._debs.mkdir(parents=True, exist_ok=True)
        with open(self._folder / "lock", "w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            if not (self._folder / "updated").exists():
                self._update()
            yield

    def _update(self) -> None:
        self._prepare()
        done = self._run("apt-get", "-qq", "update", check=False)
        if done.returncode:
            # A mirror that is being written to is whole again a moment later.
            time.sleep(2)
            done = self._run("apt-get", "-qq", "update", check=False)
        # The suite itself must be there; a list of its updates may be missing.
        if not self._lists():
            raise ArchiveError(
                f"the lists of {self.suite} for {self.arch} cannot be fetched:"
                f" {_reason(done.stderr)}",
                "does `apt-get update` work on this machine?",
            )
        self._known.clear()
        (self._folder / "updated").write_text(time.strftime("%FT%TZ\n", time.gmtime()))

    def _prepare(self) -> None:
        own = subprocess.run(
            ["apt-get", "indextargets", "--format", INDEX_FORMAT, "Created-By: Packages"],
            capture_output=True,
            text=True,
            env=_environment(),
        )
        mirrors = sources(own.stdout.splitlines())
        if not mirrors:
            raise ArchiveError(
                "this machine's apt has no mirror of Debian",
                f"set {MIRROR_VARIABLE} to the address of one",
            )
        keyring = next((path for path in KEYRINGS if os.path.exists(path)), None)
        if keyring is None:
            raise ArchiveError(
                "the keys of Debian's archive are missing",
                "install them: apt install debian-archive-keyring",
            )
        for name in ("state/lists/partial", "cache/archives/partial"):
            (self._folder / name).mkdir(parents=True, exist_ok=True)
        (self._folder / "status").touch()
        text = source_list(mirrors, self.suite, self.arch, keyring)
        (self._folder / "sources.list").write_text(text)

    def _lists(self) -> list[Path]:
        name = f"*_dists_{self.suite}_main_binary-{self.arch}_Packages*"
        return list((self._folder / "state" / "lists").glob(name))

    def _run(
        self, program: str, *arguments: str, check: bool = True
    ) -> subprocess.CompletedProcess[str]:
        done = subprocess.run(
            [program, *self._options, *arguments],
            # Not among the package files: apt names only those that are not where it runs.
            cwd=self._folder,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            env=_environment(),
        )
        if check and done.returncode:
            raise ArchiveError(f"{program} {arguments[0]}: {_reason(done.stderr)}")
        return done


def _package(match: re.Match[str]) -> Package:
    # The file's own name has no epoch; the name that apt keeps it under does.
    name, version, arch = match["file"].removesuffix(".deb").split("_")
    return Package(name, unquote(version), arch, int(match["size"]), match["sha256"] or "")


def _reason(text: str) -> str:
    """The first error of what apt said, else its last line."""
    lines = [line.strip() for line in text.splitlines() if line.strip()]
    errors = [line.removeprefix("E:").strip() for line in lines if line.startswith("E:")]
    return errors[0] if errors else lines[-1] if lines else "no reason given"


def _environment() -> dict[str, str]:
    return {**os.environ, "LC_ALL": "C", "DEBIAN_FRONTEND": "noninteractive"}
