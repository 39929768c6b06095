# SPDX-License-Identifier: Apache-2.0
"""Types of a kernel, a module, a program, a map or a file: chosen, as C or as rows."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Literal

from bpfctl.btf import Btf, BtfError, Kind, kinds
from bpfctl.btf.subset import needed, subset
from bpfctl.errors import InvalidArgument, NotFound

if TYPE_CHECKING:
    from bpfctl.target import Target
    from bpfd.v1 import common_pb2

_KEYWORDS = {
    "struct": frozenset({Kind.STRUCT, Kind.FWD}),
    "union": frozenset({Kind.UNION, Kind.FWD}),
    "enum": frozenset({Kind.ENUM, Kind.ENUM64}),
    "typedef": frozenset({Kind.TYPEDEF}),
}


def of_map(target: Target, entry: int | str | common_pb2.MapRef) -> tuple[Btf, list[int]]:
    """BTF of a map, and the ids of its key's and its value's type.

    Raises NotFound where it was made without.
    """
    found = target.map(entry)
    info = found.info
    if info.btf_vmlinux_value_type_id:
        return target.btf.kernel(), [info.btf_vmlinux_value_type_id]
    btf = found.btf
    if btf is None:
        raise NotFound("BTF", f"of map {found.name}", hint="the map was made without")
    ids = [info.btf_key_type_id, info.btf_value_type_id]
    return btf, [each for each in ids if each]


def of_program(target: Target, program: int | str | common_pb2.ProgramRef) -> Btf:
    """BTF of a program; raises NotFound where it was loaded without."""
    found = target.program(program, owners=False)
    if not found.btf_id:
        raise NotFound("BTF", f"of program {found.name}", hint="it was loaded without")
    return target.btf.of_id(found.btf_id)


def of_file(path: Path, base: Path | None = None) -> Btf:
    """BTF in a file: an object, a module, a vmlinux or image of a kernel, raw BTF.

    That of a module continues its kernel's: `base` is a file with that, unless the module
    has what it needs of it, or lies beside a file `vmlinux` as in /sys/kernel/btf.
    Raises BtfError and KernelBtfError, and OSError for a file that cannot be read.
    """
    from bpfctl.kernelbtf import files

    data = files.read(path).kernel.btf
    if not _is_split(data):
        return Btf.parse(data)
    own = _own_base(path)
    if own and base is None:
        return Btf.parse(data, Btf.parse(own))
    beside = path.parent / "vmlinux"
    if base is None and (path.name == "vmlinux" or not beside.exists()):
        raise BtfError(
            f"the BTF of {path} continues that of a kernel, which a file with it says (--base)"
        )
    return Btf.parse(data, of_file(base or beside))


def _is_split(data: bytes) -> bool:
    """Only the strings of a first blob start with an empty one."""
    if len(data) < 24:
        return False
    order: Literal["little", "big"] = "little" if data[:2] == b"\x9f\xeb" else "big"
    header, strings = (int.from_bytes(data[at : at + 4], order) for at in (4, 16))
    return data[header + strings : header + strings + 1] not in (b"\0", b"")


def _own_base(path: Path) -> bytes:
    """.BTF.base of a module (since Linux 6.11): what it needs of its kernel's types."""
    from elftools.common.exceptions import ELFError
    from elftools.elf.elffile import ELFFile

    try:
        with path.open("rb") as file:
            section = ELFFile(file).get_section_by_name(".BTF.base")
            return bytes(section.data()) if section is not None else b""
    except ELFError:
        return b""


def chosen(btf: Btf, patterns: Sequence[str] = (), kinds_of: Iterable[Kind] = ()) -> list[int]:
    """Ids of the types whose name matches a glob and which are of these kinds.

    A pattern may have the keyword before it: "struct task_struct". Raises NotFound for a
    pattern that matches nothing, and InvalidArgument for an empty one.
    """
    wanted = frozenset(kinds_of)
    if not patterns:
        return list(btf.named("*", wanted)) if wanted else list(btf.own_ids())
    found: set[int] = set()
    for pattern in patterns:
        word, _, name = pattern.rpartition(" ")
        if not name:
            raise InvalidArgument("type", f"{pattern!r} has no name of a type")
        of_word = _KEYWORDS.get(word, frozenset())
        both = of_word & wanted if of_word and wanted else of_word or wanted
        ids = set(btf.named(name, both)) if both or not (of_word and wanted) else set()
        if not ids:
            raise NotFound("type", pattern, _near(btf, name, both))
        found |= ids
    return sorted(found)


def _near(btf: Btf, name: str, wanted: frozenset[Kind]) -> list[str]:
    """Names that are spelled nearly so, among those that start alike."""
    import difflib

    start = "".join(char for char in name[:2] if char.isalnum() or char == "_")
    names = {btf.type(each).name for each in btf.named(f"{start}*", wanted)}
    return difflib.get_close_matches(name, sorted(names), 3)


def with_needed(btf: Btf, ids: Iterable[int]) -> list[int]:
    """The types and what they need in C."""
    return sorted(needed(btf, ids))


def as_c(btf: Btf, ids: Sequence[int]) -> str:
    """C declarations of types and of what they need, each before its first use.

    Raises NoKernelTypes where the workstation has no bpftool.
    """
    import tempfile

    from bpfctl.vmlinux import declarations

    raw = subset(btf, ids)
    with tempfile.TemporaryDirectory(prefix="bpfctl-btf-") as place:
        text = declarations(Path(place), raw)
    functions = list(_functions(btf, ids))
    return text + ("\n" + "".join(f"{line}\n" for line in functions) if functions else "")


def _functions(btf: Btf, ids: Iterable[int]) -> Iterator[str]:
    """What bpftool leaves out; a comment where a parameter points to a function."""
    for each in ids:
        if isinstance(btf.type(each), kinds.Function):
            text = f"extern {btf.declaration(each)};"
            yield f"/* {text} */" if "function" in text else text


def kernel_header(target: Target) -> str:
    """All types of the target's kernel as vmlinux.h, which is kept for the next time."""
    from bpfctl.config import cache_dir
    from bpfctl.vmlinux import VMLINUX_H, header_folder

    store = target.btf
    store.kernel_bytes()  # says how to get it, where the kernel has none
    root = cache_dir()
    root.mkdir(parents=True, exist_ok=True)
    folder = header_folder(root, store.kernel_sha256(), store.kernel_bytes, target.name)
    return (folder / VMLINUX_H).read_text()
