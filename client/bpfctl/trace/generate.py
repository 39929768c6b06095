# SPDX-License-Identifier: Apache-2.0
"""The C source of a program that traces one thing. Pure: the same wishes, the same text."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import dataclass, field

from . import expression as ex
from .compile import COMM, MAX_TEXT, Compiler, Value
from .errors import TraceError
from .program import Parameter, Probe, Wanted
from .structs import Structs, storage
from .values import CType, integer

MAX_FRAMES = 127
"""kernel.perf_event_max_stack, of a kernel that nobody changed."""

SLOTS = 64

_AT_RETURN = ("retval", "duration")
_OWN = frozenset(
    [
        "ctx",
        "event",
        "entry",
        "call",
        "depth",
        "hit",
        "comm",
        "wanted",
        "now",
        "thread",
        "zero",
        "found",
        "count",
        "hits",
        "events",
        "entries",
        "depths",
        "histogram",
        "negative",
        "is_text",
        "read_text",
        "call_of",
        "no_entry",
        "errno",
    ]
)
_KEYWORDS = frozenset(
    [
        "auto",
        "break",
        "case",
        "char",
        "const",
        "continue",
        "default",
        "do",
        "double",
        "else",
        "enum",
        "extern",
        "float",
        "for",
        "goto",
        "if",
        "inline",
        "int",
        "long",
        "register",
        "restrict",
        "return",
        "short",
        "signed",
        "sizeof",
        "static",
        "struct",
        "switch",
        "typedef",
        "union",
        "unsigned",
        "void",
        "volatile",
        "while",
        "bool",
        "true",
        "false",
    ]
)


@dataclass
class _Shown:
    """A column of events."""

    name: str
    node: ex.Node
    at_return: bool
    declared: str = ""


@dataclass
class Generated:
    """A source, and what its events hold."""

    source: str
    programs: tuple[str, ...]
    """"on_call", "on_return"."""
    arguments: dict[str, str] = field(default_factory=dict)
    """Type of each argument shown, as the target calls it."""
    unreadable: dict[str, str] = field(default_factory=dict)
    """Arguments that are left out, and why."""


def source(probe: Probe, wanted: Wanted, title: str = "") -> Generated:
    """The program; raises TraceError for expressions that do not fit the probe."""
    return _Generator(probe, wanted, title).run()


class _Generator:
    def __init__(self, probe: Probe, wanted: Wanted, title: str) -> None:
        self.probe = probe
        self.wanted = wanted
        self.title = title
        self.structs = Structs()
        self.enums: dict[str, CType] = {}
        self.parameters = {each.name: each for each in probe.parameters}
        condition = ex.parse(wanted.condition) if wanted.condition else None
        parts = ex.conjuncts(condition) if condition is not None else []
        self.at_entry = [part for part in parts if not self._late(part)]
        self.at_return = [part for part in parts if self._late(part)]
        self.histogram = ex.parse(wanted.histogram) if wanted.mode == "hist" else None
        late = bool(self.at_return) or (self.histogram and self._late(self.histogram))
        self.unreadable: dict[str, str] = {}
        self.types: dict[str, str] = {}
        self.wants_return = False
        self.shown = list(self._columns())
        self.returns = bool(
            wanted.returns
            or self.wants_return
            or late
            or any(each.at_return for each in self.shown)
        )
        if self.returns and not probe.has_return:
            raise TraceError("--return", "a tracepoint does not return")
        if wanted.step and wanted.mode != "hist":
            raise TraceError("--step", "belongs to --hist")
        self.saved = self._saved()
        self.has_texts = False
        self.result_declared = ""

    def _late(self, node: ex.Node) -> bool:
        used = ex.names(node)
        return any(name in used and name not in self.parameters for name in _AT_RETURN)

    def _columns(self) -> Iterator[_Shown]:
        if self.wanted.mode != "events":
            return
        if self.wanted.arguments is None:
            for each in self.probe.parameters:
                if each.place.why:
                    self.unreadable[each.name] = each.place.why
                elif each.default:
                    yield _Shown(member(each.name), ex.Name(each.name), False)
            return
        taken: set[str] = set()
        for text in self.wanted.arguments:
            name, equals, rest = text.partition("=")
            named = equals and not rest.startswith("=") and name.strip().isidentifier()
            node = ex.parse(rest if named else text)
            if node == ex.Name("retval") and not named and self._late(node):
                self.wants_return = True  # it has a column of its own
                continue
            label = member(name.strip() if named else ex.shown(node))
            number = 2
            base = label
            while label in taken:
                label, number = f"{base}_{number}", number + 1
            taken.add(label)
            yield _Shown(label, node, self._late(node))

    def _saved(self) -> list[Parameter]:
        """Arguments that are needed at the return, where their registers hold other values."""
        used: set[str] = set()
        for node in self.at_return:
            used |= ex.names(node)
        for each in self.shown:
            if each.at_return:
                used |= ex.names(each.node)
        if self.returns and self.histogram is not None:
            used |= ex.names(self.histogram)
        return [each for each in self.probe.parameters if each.name in used and each.place.code]

    def run(self) -> Generated:
        before = self._entry()
        after = self._return() if self.returns else []
        programs = ("on_call", "on_return") if self.returns else ("on_call",)
        code = "\n".join([*before, *after])
        self.has_texts = "_text(" in code
        head = [*self._head(), *self._types(), *self._maps()]
        text = "\n".join([*head, "", code])
        return Generated(
            re.sub(r"\n{3,}", "\n\n", text).rstrip() + "\n",
            programs,
            self.types,
            self.unreadable,
        )

    # Code of the two programs

    def _scope(self, *, late: bool) -> dict[str, Value | str]:
        scope: dict[str, Value | str] = {
            "pid": Value(integer(4), "(__u32)(thread >> 32)"),
            "tid": Value(integer(4), "(__u32)thread"),
            "cpu": Value(integer(4), "bpf_get_smp_processor_id()"),
            "uid": Value(integer(4), "(__u32)bpf_get_current_uid_gid()"),
            "comm": Value(COMM, "comm"),
        }
        for name in _AT_RETURN if self.probe.has_return else ():
            scope[name] = "it is known when the function returns"
        if late:
            scope["duration"] = Value(integer(8), "(now - entry->time_ns)")
            scope["retval"] = self._returned()
        for each in self.probe.parameters:
            if each.place.why:
                scope[each.name] = each.place.why
            elif late:
                scope[each.name] = Value(each.type, f"saved_{identifier(each.name)}")
            elif each.type.shape == "array":
                scope[each.name] = Value(each.type, each.place.code)
            else:
                scope[each.name] = Value(each.type, identifier(each.name))
        return scope

    def _returned(self) -> Value | str:
        kind, place = self.probe.result, self.probe.result_place
        if place.why:
            return place.why
        if not place.code or (kind is not None and kind.shape == "void"):
            return "the function returns nothing"
        return Value(kind or integer(self.probe.pointer_size), "retval")

    def _compiler(self, *, late: bool) -> Compiler:
        return Compiler(
            self._scope(late=late),
            self.structs,
            user=self.probe.user,
            pointer=self.probe.pointer_size,
        )

    def _entry(self) -> list[str]:
        compiler = self._compiler(late=False)
        checks = self._checks(compiler, self.at_entry)
        record: list[str] = []
        early = [each for each in self.shown if not each.at_return]
        if self.returns:
            record += self._remember(compiler, early)
        elif self.wanted.mode == "events":
            record += self._event(compiler, early, [])
        else:
            record += self._aggregate(compiler)
        used = "\n".join([*checks, *record])
        body = [*self._thread(used), *self._arguments(used), *checks, *record, "return 0;"]
        return [*self._program("on_call", self._section(False), body), ""]

    def _checks(self, compiler: Compiler, parts: list[ex.Node]) -> list[str]:
        lines = list(self._of_process())
        if self.returns:
            # A call that is not wanted is remembered too: its return must find its own.
            return lines
        for part in parts:
            code = compiler.condition(part)
            lines += [*compiler.lines, f"if (!({code}))", "\treturn 0;"]
            compiler.lines.clear()
        return lines

    def _of_process(self) -> Iterator[str]:
        wanted = self.wanted
        if wanted.pid:
            yield f"if (thread >> 32 != {wanted.pid})"
            yield "\treturn 0;"
        if wanted.cgroup is not None:
            number, depth = wanted.cgroup
            yield f"if (bpf_get_current_ancestor_cgroup_id({depth}) != {number}ULL)"
            yield "\treturn 0;"
        if wanted.comm:
            parts = self._compiler(late=False)
            node = ex.Binary("==", ex.Name("comm"), ex.Text(wanted.comm))
            parts.scope = {"comm": Value(COMM, "comm")}
            yield f"if (!{parts.condition(node)})"
            yield "\treturn 0;"

    def _thread(self, used: str) -> Iterator[str]:
        if re.search(r"\bthread\b", used):
            yield "__u64 thread = bpf_get_current_pid_tgid();"
        if re.search(r"\bcomm\b", re.sub(r"->comm|\.comm|\"[^\"]*\"", "", used)):
            yield "char comm[16];"
            yield ""
            yield "bpf_get_current_comm(comm, sizeof(comm));"

    def _arguments(self, used: str) -> Iterator[str]:
        plain = re.sub(r"(?:->|\.)\s*\w+|\"[^\"]*\"", "", used)
        for each in self.probe.parameters:
            name = identifier(each.name)
            if not each.place.code or each.type.shape == "array":
                continue
            if re.search(rf"\b{name}\b", plain):
                kind = "__u64" if each.type.points_to_text else storage(each.type)
                yield f"{kind} {name} = ({kind}){each.place.code};"

    def _store(self, compiler: Compiler, into: str, columns: list[_Shown]) -> list[str]:
        lines: list[str] = []
        for each in columns:
            value = compiler.evaluate(each.node)
            lines += compiler.lines
            compiler.lines.clear()
            target = f"{into}{each.name}"
            if value.text:
                each.declared = f"char {each.name}[{MAX_TEXT}]"
                if value.is_char_array:
                    size = min(value.type.size or MAX_TEXT, MAX_TEXT)
                    each.declared = f"char {each.name}[{size}]"
                if value.code == "comm":
                    lines.append(f"__builtin_memcpy({target}, comm, sizeof(comm));")
                else:
                    lines.append(f"{compiler.read_text(target, value)};")
            elif value.type.shape == "array":
                lines += self._bytes(each, value, target)
            elif value.type.scalar:
                each.declared = self._declared(each.name, value.type)
                lines.append(f"{target} = {value.code};")
            else:
                raise TraceError(
                    "--args", f"{each.name} is a {value.type.text}: say which member of it"
                )
            self.types[each.name] = value.type.text
        return lines

    def _bytes(self, each: _Shown, value: Value, target: str) -> list[str]:
        size = min(value.type.size, MAX_TEXT)
        each.declared = f"__u8 {each.name}[{size}]"
        helper = "bpf_probe_read_user" if self.probe.user else "bpf_probe_read_kernel"
        return [f"{helper}({target}, {size}, {value.code});"]

    def _declared(self, name: str, kind: CType) -> str:
        if kind.shape == "bool":
            return f"bool {name}"
        if kind.shape == "pointer":
            return f'__u{8 * kind.size} {name} SHOWN_AS("hex")'
        # Enums of linux/bpf.h are declared there, maybe with fewer values.
        theirs = any(each.startswith(("BPF_", "XDP_", "BTF_")) for each in kind.values)
        if kind.shape == "enum" and kind.enum and kind.size == 4 and kind.values and not theirs:
            self.enums[kind.enum] = kind
            return f"enum {kind.enum} {name}"
        return f"{storage(kind)} {name}"

    def _event(self, compiler: Compiler, early: list[_Shown], late: list[_Shown]) -> list[str]:
        lines = [
            "struct event *event = ring_reserve(events, struct event);",
            "",
            "if (!event)",
            "\treturn 0;",
            "event->time_ns = bpf_ktime_get_ns();" if not late and not self.returns else "",
            "event->pid = thread >> 32;",
            "event->tid = thread;",
            "bpf_get_current_comm(event->comm, sizeof(event->comm));",
        ]
        if len(self.probe.functions) > 1:
            lines.append(
                "event->function = call.function;"
                if self.returns
                else "event->function = bpf_get_attach_cookie(ctx);"
            )
        if not self.returns:
            lines += self._store(compiler, "event->args.", early)
        if self.wanted.stack and not self.returns:
            lines += self._stacks("event")
        if not self.returns:
            lines.append("ring_submit(ctx, events, event, 0);")
        return [line for line in lines if line or line == ""]

    def _stacks(self, into: str) -> list[str]:
        lines = []
        if self.probe.caller:
            place = self.probe.caller.removeprefix("*")
            lines = [f"{into}->caller = {place};"]
            if place != self.probe.caller:
                lines = [
                    f"bpf_probe_read_user(&{into}->caller, {self.probe.pointer_size},",
                    f"\t\t    (void *){place});",
                ]
        return [
            *lines,
            f"{into}->kernel_bytes = bpf_get_stack(ctx, {into}->kernel_stack,",
            f"\t\t\t\t\tsizeof({into}->kernel_stack), 0);",
            f"{into}->user_bytes = bpf_get_stack(ctx, {into}->user_stack,",
            f"\t\t\t\t\tsizeof({into}->user_stack),",
            "\t\t\t\t\tBPF_F_USER_STACK);",
        ]

    def _aggregate(self, compiler: Compiler) -> list[str]:
        if self.histogram is None:
            several = len(self.probe.functions) > 1
            function = "bpf_get_attach_cookie(ctx)" if several else "0"
            if self.returns:
                function = "call.function"
            return [
                f"__u32 hit = {function};",
                "__u64 *count = bpf_map_lookup_elem(&hits, &hit);",
                "",
                "if (count)",
                "\t__sync_fetch_and_add(count, 1);",
            ]
        value = compiler.evaluate(self.histogram)
        code = compiler.number(value, self.histogram)
        lines = [*compiler.lines, "__u32 zero = 0;"]
        compiler.lines.clear()
        lines += [
            "struct histogram *found = bpf_map_lookup_elem(&histogram, &zero);",
            "",
        ]
        if value.type.signed:
            lines += [f"if ({code} < 0) {{", "\tleft_out(&negative);", "\treturn 0;", "}"]
        lines += ["if (found)", f"\thistogram_count(found, {code}, {self.wanted.step});"]
        return lines

    def _remember(self, compiler: Compiler, early: list[_Shown]) -> list[str]:
        several = len(self.probe.functions) > 1
        function = "bpf_get_attach_cookie(ctx)" if several else "0"
        lines = [
            f"struct call call = call_of(thread, {function}, 1);",
            "struct entry *entry;",
            "",
            "bpf_map_update_elem(&entries, &call, &no_entry, BPF_ANY);",
            "entry = bpf_map_lookup_elem(&entries, &call);",
            "if (!entry)",
            "\treturn 0;",
        ]
        for part in self.at_entry:
            code = compiler.condition(part)
            lines += [*compiler.lines, f"if (!({code}))", "\treturn 0;"]
            compiler.lines.clear()
        for each in self.saved:
            lines.append(f"entry->{identifier(each.name)} = {identifier(each.name)};")
        lines += self._store(compiler, "entry->args.", early)
        if self.wanted.stack:
            lines += self._stacks("entry")
        lines += ["entry->time_ns = bpf_ktime_get_ns();"]
        return lines

    def _return(self) -> list[str]:
        compiler = self._compiler(late=True)
        several = len(self.probe.functions) > 1
        function = "bpf_get_attach_cookie(ctx)" if several else "0"
        late = [each for each in self.shown if each.at_return]
        checks: list[str] = []
        for part in self.at_return:
            code = compiler.condition(part)
            checks += [*compiler.lines, f"if (!({code}))", "\tgoto done;"]
            compiler.lines.clear()
        if self.wanted.mode == "events":
            record = self._return_event(compiler, late)
        else:
            record = self._aggregate(compiler)
            record = [line.replace("return 0;", "goto done;") for line in record]
        used = "\n".join([*checks, *record])
        clock = ["__u64 now = bpf_ktime_get_ns();"] if re.search(r"\bnow\b", used) else []
        body = [
            *self._of_process(),
            f"struct call call = call_of(thread, {function}, -1);",
            "struct entry *entry = bpf_map_lookup_elem(&entries, &call);",
            *clock,
            "",
            "if (!entry)",
            "\treturn 0;",
            "if (!entry->time_ns)",
            "\tgoto done;",
        ]
        for each in self.saved:
            name = identifier(each.name)
            body.append(f"{storage(each.type)} saved_{name} = entry->{name};")
        returned = self._returned()
        if isinstance(returned, Value) and re.search(r"\bretval\b", used):
            kind = storage(returned.type)
            body.append(f"{kind} retval = ({kind}){self.probe.result_place.code};")
        # A label ends the scope in which locals may be jumped over.
        body += ["{", *(f"\t{line}" if line else "" for line in [*checks, *record]), "}"]
        body = [*self._thread("thread " + "\n".join([*body])), *body]
        body += ["done:", "bpf_map_delete_elem(&entries, &call);", "return 0;"]
        return [*self._program("on_return", self._section(True), body), ""]

    def _return_event(self, compiler: Compiler, late: list[_Shown]) -> list[str]:
        lines = [
            "struct event *event = ring_reserve(events, struct event);",
            "",
            "if (!event)",
            "\tgoto done;",
            "event->time_ns = entry->time_ns;",
            "event->pid = thread >> 32;",
            "event->tid = thread;",
            "bpf_get_current_comm(event->comm, sizeof(event->comm));",
        ]
        if len(self.probe.functions) > 1:
            lines.append("event->function = call.function;")
        if any(not each.at_return for each in self.shown):
            lines.append("bpf_probe_read_kernel(&event->args, sizeof(event->args),")
            lines.append("\t\t      &entry->args);")
        returned = self._returned()
        if isinstance(returned, Value):
            column = _Shown("retval", ex.Name("retval"), True)
            lines += self._store(compiler, "event->", [column])
            self.result_declared = column.declared
        lines.append("event->duration_ns = now - entry->time_ns;")
        lines += self._store(compiler, "event->result.", late)
        if self.wanted.stack:
            if self.probe.caller:
                lines.append("event->caller = entry->caller;")
            for side in ("kernel", "user"):
                lines.append(f"event->{side}_bytes = entry->{side}_bytes;")
                lines.append(
                    f"bpf_probe_read_kernel(event->{side}_stack, sizeof(event->{side}_stack),"
                )
                lines.append(f"\t\t      entry->{side}_stack);")
        lines.append("ring_submit(ctx, events, event, 0);")
        return lines

    # Text around it

    def _section(self, late: bool) -> str:
        hook = self.probe.hook
        if hook in ("kprobe", "uprobe"):
            return f"{hook[0]}{'ret' if late else ''}probe"
        if hook.endswith(".multi"):
            return f"{hook[0]}{'ret' if late else ''}probe.multi"
        if hook == "fentry":
            return f"{'fexit' if late else 'fentry'}/{self.probe.functions[0]}"
        return {"tracepoint": "tracepoint", "raw_tp": "raw_tp"}[hook]

    def _program(self, name: str, section: str, body: list[str]) -> list[str]:
        return [
            f'SEC("{section}")',
            f"int {name}({self.probe.context_type}ctx)",
            "{",
            *(f"\t{line}" if line and not line.endswith("done:") else line for line in body),
            "}",
        ]

    def _head(self) -> Iterator[str]:
        yield "/* SPDX-License-Identifier: GPL-2.0-only */"
        said = self.title.replace("*/", "* /")
        yield f"/* Made by bpfctl trace{': ' + said if said else ''} */"
        if self.wanted.mode == "hist":
            yield f"#define HISTOGRAM_SLOTS {SLOTS}"
        if self.has_texts and self.probe.user:
            yield "#define TEXTS_OF_PROCESS"
        yield "#include <linux/types.h>"
        yield "#include <linux/bpf.h>"
        yield "#include <stdbool.h>"
        yield "#include <bpf/bpf_helpers.h>"
        yield "#include <bpf/bpf_core_read.h>"
        yield "#include <bpf/bpf_endian.h>"
        if self.wanted.mode == "events":
            yield "#include <bpfd/events.h>"
        if self.wanted.mode == "hist":
            yield "#include <bpfd/histogram.h>"
        if self.returns:
            yield "#include <bpfd/calls.h>"
        if self.has_texts:
            yield "#include <bpfd/traced.h>"
        yield ""
        yield 'char LICENSE[] SEC("license") = "GPL";'
        yield ""

    def _types(self) -> Iterator[str]:
        if self.probe.context:
            yield "/* What the probe is given. */"
            yield self.probe.context
        structs = self.structs.text()
        if structs:
            yield "/* Of the kernel, what is read: found by these names at load. */"
            yield "#define RELOCATED __attribute__((preserve_access_index))"
            yield ""
            yield structs
        for name, kind in self.enums.items():
            yield f"enum {name} {{"
            yield from (f"\t{each} = {value}," for each, value in kind.values.items())
            yield "};"
            yield ""
        early = [each for each in self.shown if not each.at_return]
        late = [each for each in self.shown if each.at_return]
        if early:
            yield "struct arguments {"
            yield from (f"\t{each.declared};" for each in early)
            yield "};"
            yield ""
        if late:
            yield "struct results {"
            yield from (f"\t{each.declared};" for each in late)
            yield "};"
            yield ""
        if self.wanted.mode == "events":
            yield from self._event_type(bool(early), bool(late))
        if self.returns:
            yield from self._entry_type(bool(early))

    def _event_type(self, early: bool, late: bool) -> Iterator[str]:
        yield "struct event {"
        yield "\t/* bpf_ktime_get_ns() of the call: ns since boot without time asleep. */"
        yield '\t__u64 time_ns SHOWN_AS("ktime");'
        yield "\t/* Process and thread. */"
        yield "\t__u32 pid;"
        yield "\t__u32 tid;"
        yield "\tchar comm[16];"
        if len(self.probe.functions) > 1:
            yield "\t/* Index of what was hit. */"
            yield "\t__u32 function;"
        if early:
            yield "\tstruct arguments args;"
        if self.returns:
            if self.result_declared:
                yield f"\t{self.result_declared};"
            yield '\t__u64 duration_ns SHOWN_AS("ns");'
        if late:
            yield "\tstruct results result;"
        if self.wanted.stack:
            yield from self._stack_members()
        yield "};"
        yield ""

    def _entry_type(self, early: bool) -> Iterator[str]:
        yield "/* A call that has not returned; time 0: it is of no interest. */"
        yield "struct entry {"
        yield "\t__u64 time_ns;"
        yield from (f"\t__u64 {identifier(each.name)};" for each in self.saved)
        if early:
            yield "\tstruct arguments args;"
        if self.wanted.stack:
            yield from self._stack_members()
        yield "};"
        yield ""
        yield _ENTRIES

    def _stack_members(self) -> Iterator[str]:
        if self.probe.caller:
            yield "\t/* Where the function returns to: it has no frame yet to be found by. */"
            yield "\t__u64 caller;"
        yield from _STACK_MEMBERS

    def _maps(self) -> Iterator[str]:
        if self.wanted.mode == "events":
            yield f"RING(events, struct event, {self.wanted.ring_bytes});"
            yield ""
        if self.wanted.mode == "count":
            yield "/* Hits by index of what was hit. Written here, read by user space. */"
            yield from _array("PERCPU_ARRAY", len(self.probe.functions), "__u64", "hits")
        if self.wanted.mode == "hist":
            yield "/* Written here, read by user space. */"
            yield from _array("PERCPU_ARRAY", 1, "struct histogram", "histogram")
            yield "/* Values below 0, which have no slot. */"
            yield "LEFT_OUT(negative);"
            yield ""


def _array(kind: str, entries: int, value: str, name: str) -> Iterator[str]:
    yield "struct {"
    yield f"\t__uint(type, BPF_MAP_TYPE_{kind});"
    yield f"\t__uint(max_entries, {entries});"
    yield "\t__type(key, __u32);"
    yield f"\t__type(value, {value});"
    yield f'}} {name} SEC(".maps");'
    yield ""


_STACK_MEMBERS = (
    "\t/* Bytes of the stacks below, the innermost frame first; negative: an error. */",
    "\t__s32 kernel_bytes;",
    "\t__s32 user_bytes;",
    f"\t__u64 kernel_stack[{MAX_FRAMES}];",
    f"\t__u64 user_stack[{MAX_FRAMES}];",
)

_ENTRIES = """/* Calls that have not returned. Of threads that end in one the oldest go. */
struct {
\t__uint(type, BPF_MAP_TYPE_LRU_HASH);
\t__uint(max_entries, OPEN_CALLS);
\t__type(key, struct call);
\t__type(value, struct entry);
} entries SEC(".maps");

static const struct entry no_entry;
"""


def identifier(name: str) -> str:
    """A name that C takes and that is none of the program's own."""
    plain = member(name)
    return f"{plain}_" if plain in _OWN or re.fullmatch(r"v\d+|bpf_\w+", plain) else plain


def member(name: str) -> str:
    """A name that C takes for a member of a struct."""
    plain = re.sub(r"\W", "_", name, flags=re.ASCII) or "value"
    if plain[0].isdigit():
        plain = f"_{plain}"
    return f"{plain}_" if plain in _KEYWORDS else plain
