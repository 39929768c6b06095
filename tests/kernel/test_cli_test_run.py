# SPDX-License-Identifier: Apache-2.0
"""`bpfctl test-run`: packets of every source, verdicts by name, and nothing left behind."""

from __future__ import annotations

import csv
import json
from collections.abc import Iterator
from io import StringIO
from pathlib import Path
from typing import Any

import pytest
from bpfctl.packets import capture

from tests.kernel import cli_support
from tests.kernel import packets as p
from tests.kernel.clang import compiled
from tests.kernel.cli_support import Cli, needs_clang
from tests.kernel.command_line import check_clean
from tests.kernel.conftest import RunningDaemon

pytestmark = needs_clang

UDP = p.ethernet(p.IPV4, p.ipv4(p.UDP, p.udp(1000, 53, b"question")))
TCP = p.ethernet(p.IPV4, p.ipv4(p.TCP, p.tcp(1000, 80)))
ICMP = p.ethernet(p.IPV4, p.ipv4(p.ICMP, p.icmp(8)))
OTHER = p.ethernet(p.IPV4, p.ipv4(p.ESP, b"secret"))

DDOS = Path(__file__).parents[2] / "bpf" / "ddos"
SOURCES = Path(__file__).parent / "programs"


@pytest.fixture
def cli(daemon: RunningDaemon, tmp_path: Path) -> Iterator[Cli]:
    """With the programs as object `runs`; in the end nothing may be there but that."""
    found = cli_support.make(daemon, tmp_path)
    (tmp_path / "runs.bpf.o").write_bytes(compiled("test_runs"))
    found("load", str(tmp_path / "runs.bpf.o"))
    yield found
    found("unload", "runs")
    check_clean(daemon)


@pytest.fixture
def pcap(tmp_path: Path) -> str:
    """UDP, TCP, ICMP and too few bytes for any."""
    path = tmp_path / "in.pcap"
    with capture.writing(path) as writer:
        for number, packet in enumerate((UDP, TCP, ICMP, b"short")):
            writer.writepkt(packet, 1000 + number)
    return str(path)


def test_one_packet_in_detail(cli: Cli) -> None:
    found = cli.json("test-run", "runs/answer", "--hex", UDP.hex(), "--maps")
    assert (found["verdict"], found["return_value"], found["changed"]) == ("XDP_TX", 3, True)
    assert bytes.fromhex(found["output"])[:12] == UDP[6:12] + UDP[:6]
    assert {(each["layer"], each["field"]) for each in found["fields"]} == {
        ("Ethernet", "destination"),
        ("Ethernet", "source"),
        ("IPv4", "ttl"),
    }
    assert {"map": "protocols", "key": 17, "before": None, "after": 1} in found["maps"]
    assert {"map": "packets", "key": 0, "before": 0, "after": 1} in found["maps"]
    again = cli.json(
        "test-run", "runs/answer", "--hex", UDP.hex(" "), "--maps", "--repeat", "5"
    )
    assert {"map": "protocols", "key": 17, "before": 1, "after": 6} in again["maps"]


def test_what_people_see(cli: Cli) -> None:
    said = cli("test-run", "runs/answer", "--hex", UDP.hex())
    assert said.startswith("verdict  XDP_TX (3)\ntime     ")
    assert "IPv4 ttl: 64 -> 63" in said
    assert "- 0000  02 00 00 00 00 02 02 00 00 00 00 01 08 00 45 00" in said
    assert "+ 0000  02 00 00 00 00 01 02 00 00 00 00 02 08 00 45 00" in said
    said = cli("test-run", "runs/answer", "--hex", ICMP.hex())
    assert "42 -> 62 bytes" in said
    assert "+ IPv4 protocol: 4 (IPIP)" in said
    assert "not changed" in cli("test-run", "runs/answer", "--hex", TCP.hex())


def test_a_dump_from_a_file_and_from_standard_input(cli: Cli, tmp_path: Path) -> None:
    from bpfctl.packets.hextext import dump

    (tmp_path / "packet.txt").write_text(dump(TCP))
    found = cli.json("test-run", "runs/answer", "--hex", f"@{tmp_path}/packet.txt")
    assert found["verdict"] == "XDP_DROP"
    assert "XDP_DROP" in cli("test-run", "runs/answer", "--hex", "-", stdin=dump(TCP))


def test_the_package_judges_packets_and_is_gone(cli: Cli) -> None:
    passed = cli.json("test-run", str(DDOS), "--hex", UDP.hex(), "--maps")
    assert passed["verdict"] == "XDP_PASS"
    assert "counters" in {each["map"] for each in passed["maps"]}
    malformed = p.ethernet(p.IPV4, p.ipv4(p.UDP, words=3))
    found = cli.json("test-run", str(DDOS), "ddos", "--hex", malformed.hex())
    assert found["verdict"] == "XDP_DROP"
    assert [each["name"] for each in cli.json("object", "list")] == ["runs"]


def test_a_capture_is_summed_up(cli: Cli, pcap: str) -> None:
    rows = {
        words[0]: words[1]
        for line in cli("test-run", "runs/answer", "--pcap", pcap).splitlines()[1:]
        if (words := line.replace("refused: shorter than an Ethernet header", "-").split())
    }
    assert rows == {"XDP_TX": "2", "XDP_DROP": "1", "-": "1"}


def test_rows_for_every_packet(cli: Cli, pcap: str) -> None:
    said = cli("test-run", "runs/answer", "--pcap", pcap, "-o", "jsonl")
    rows = [json.loads(line) for line in said.splitlines()]
    assert [row["packet"] for row in rows] == [1, 2, 3, 4]
    assert [row["verdict"] for row in rows] == ["XDP_TX", "XDP_DROP", "XDP_TX", ""]
    assert rows[3]["error"] == "shorter than an Ethernet header"
    assert rows[1]["output"] == ""
    assert len(bytes.fromhex(rows[2]["output"])) == len(ICMP) + 20
    said = cli("test-run", "runs/answer", "--pcap", pcap, "--packet", "2-3", "-o", "csv")
    assert [row["packet"] for row in csv.DictReader(StringIO(said))] == ["2", "3"]
    one = cli.json("test-run", "runs/answer", "--pcap", pcap, "--packet", "3")
    assert one["output_length"] == len(ICMP) + 20


def test_packets_are_written_as_they_are_afterwards(
    cli: Cli, pcap: str, tmp_path: Path
) -> None:
    out = tmp_path / "out.pcap"
    run = ("test-run", "runs/answer", "--pcap", pcap, "--write", str(out))
    cli(*run)
    one, two, three = capture.read(out)
    assert one.data[:12] == UDP[6:12] + UDP[:6]
    assert (two.time, two.data) == (1001, TCP)
    assert len(three.data) == len(ICMP) + 20
    cli(*run, "--only", "XDP_DROP")
    assert [packet.data for packet in capture.read(out)] == [TCP]


def test_ten_thousand_packets(cli: Cli, tmp_path: Path) -> None:
    path = tmp_path / "many.pcap"
    with capture.writing(path) as writer:
        for number in range(10_000):
            writer.writepkt((UDP, TCP, OTHER, TCP)[number % 4], float(number))
    said = cli(
        "test-run", "runs/answer", "--pcap", str(path), "-o", "jsonl", "--only", "XDP_TX"
    )
    rows = [json.loads(line) for line in said.splitlines()]
    assert [row["packet"] for row in rows] == list(range(1, 10_001, 4))
    table = cli("test-run", "runs/answer", "--pcap", str(path))
    assert [line.split()[:2] for line in table.splitlines()[1:]] == [
        ["XDP_DROP", "5000"],
        ["XDP_TX", "2500"],
        ["XDP_PASS", "2500"],
    ]


def test_a_scapy_expression(cli: Cli) -> None:
    pytest.importorskip("scapy")
    text = "Ether()/IP(dst='10.0.0.1', ttl=9)/UDP(dport=[53, 80])"
    said = cli("test-run", "runs/answer", "--scapy", text, "-o", "jsonl")
    rows = [json.loads(line) for line in said.splitlines()]
    assert [row["verdict"] for row in rows] == ["XDP_TX", "XDP_TX"]


def test_fields_of_the_context(cli: Cli) -> None:
    run = ("test-run", "runs/mark", "--hex", UDP.hex())
    found = cli.json(*run, "--ctx", "mark=7", "--ctx", "ingress_ifindex=3")
    assert found["verdict"] == "TC_ACT_OK"
    assert found["context"] == {
        "mark": {"before": 7, "after": 8},
        "cb": {"before": [0, 0, 0, 0, 0], "after": [0, 3, 0, 0, 0]},
    }
    assert cli.json(*run, "--ctx", "mark=100")["verdict"] == "TC_ACT_SHOT"
    xdp = ("test-run", "runs/by_interface", "--hex", UDP.hex(), "--ctx")
    assert cli.json(*xdp, "ingress_ifindex=1")["verdict"] == "XDP_REDIRECT"
    raw = bytes(4) + len(UDP).to_bytes(4, "little") + bytes(4) + b"\1\0\0\0" + bytes(8)
    assert cli.json(*xdp, f"hex:{raw.hex()}")["verdict"] == "XDP_REDIRECT"
    assert "this network namespace" in cli.refused(1, *xdp, "ingress_ifindex=4000000")
    assert "did you mean ingress_ifindex" in cli.refused(2, *xdp, "ingress_ifidex=1")


def test_programs_that_take_no_packet(cli: Cli) -> None:
    run = ("test-run", "runs/sum", "--ctx", "arg0=5", "--ctx", "arg1=0x10")
    assert cli.json(*run)["return_value"] == 21
    assert cli.json(*run, "--on-cpu", "0")["return_value"] == 21
    choose = ("test-run", "runs/choose", "--ctx")
    where = "family=2 protocol=6 local_ip4=10.0.0.1 local_port="
    assert cli.json(*choose, f"{where}80")["verdict"] == "SK_PASS"
    assert cli.json(*choose, f"{where}81")["verdict"] == "SK_DROP"
    add = ("test-run", str(SOURCES / "runs.bpf.c"), "-D", "SYSCALL")
    found = cli.json(*add, "--ctx", "first=40 second=2")
    assert found["context"] == {"sum": {"before": 0, "after": 42}}


def test_other_types_with_packets(cli: Cli) -> None:
    packet = ("--hex", UDP.hex())
    keys = cli.json("test-run", "runs/dissect", *packet)["flow_keys"]
    assert (keys["ip_proto"], keys["n_proto"]) == (17, 0x0800)
    allowed = cli.json("test-run", "runs/allow", "--hex", (UDP + bytes(40)).hex())
    assert (allowed["verdict"], allowed["changed"]) == ("pass", False)
    assert cli.json("test-run", "runs/allow", *packet)["verdict"] == "drop"
    kept = cli.json("test-run", "runs/first_bytes", "--hex", (UDP + bytes(40)).hex())
    assert kept["verdict"] == "keep 20 bytes"


def test_expectations_of_scripts(cli: Cli, pcap: str) -> None:
    run = ("test-run", "runs/answer", "--hex", TCP.hex(), "--expect")
    cli(*run, "XDP_DROP")
    assert "XDP_PASS was expected: XDP_DROP" in cli.refused(1, *run, "XDP_PASS")
    every = ("test-run", "runs/answer", "--pcap", pcap, "--expect", "XDP_TX")
    assert "1 XDP_DROP" in cli.refused(1, *every)
    cli(*every, "--packet", "3")
    assert "XDP_ABORTED, XDP_DROP" in cli.refused(2, *run, "DROP")


def test_frames_are_live_only_when_asked_for(cli: Cli) -> None:
    run = ("test-run", "runs/answer", "--hex", TCP.hex())
    found: Any = cli.json(*run, "--live", "--repeat", "7", "--maps")
    assert (found["verdict"], found["changed"]) == ("", False)
    assert {"map": "protocols", "key": 6, "before": None, "after": 7} in found["maps"]
    assert cli.refused(2, "test-run", "runs/mark", "--hex", UDP.hex(), "--live")


BAD_INPUT: list[tuple[tuple[str, ...], int, str]] = [
    (("runs/answer",), 2, "--hex, --pcap or --scapy"),
    (("runs/answer", "--hex", "12 3"), 2, "3 digits"),
    (("runs/answer", "--hex", "1234"), 1, "at least 14 bytes, this one 2"),
    (("runs/answer", "--hex", "@/no/such"), 2, "No such file"),
    (("runs/answer", "--pcap", "/no/such"), 4, "/no/such"),
    (("runs/answer", "--pcap", "/etc/passwd"), 2, "no pcap or pcapng"),
    (("runs/answer", "--pcap", "/etc/passwd", "--packet", "x"), 2, "--packet"),
    (("runs/answer", "--packet", "3", "--hex", "12"), 2, "--pcap"),
    (("runs/answer", "--hex", "-", "--hex", "-"), 2, "one packet"),
    (("runs/answer", "--live", "--hex", "12", "--hex", "34"), 2, "one packet"),
    (("runs/answer", "--write", "x.pcap"), 2, "no packets"),
    (("runs/answer", "again", "--hex", "12"), 2, "no file or package"),
    (("runs/sum", "--hex", "12"), 2, "takes none"),
    (("runs/sum", "--ctx", "pid=1"), 2, "arg0"),
    (("runs/choose",), 2, "family=2"),
    (("runs/choose", "--ctx", "local_port=80"), 1, "2 is IPv4"),
    (("runs/on_switch",), 7, "attach on_switch"),
    (("runs/behind", "--hex", UDP.hex()), 7, "devmap"),
    (("runs/nothing", "--hex", "12"), 4, "nothing"),
    (("no_such_program", "--hex", "12"), 4, "no_such_program"),
    (("nothing.bpf.c", "--hex", "12"), 4, "nothing.bpf.c"),
    (("runs/answer", "--hex", UDP.hex(), "--netns", "no-such"), 4, "network namespace"),
    ((str(SOURCES / "objects.bpf.c"), "--hex", "12"), 2, "say which"),
    ((str(SOURCES / "objects.bpf.c"), "nothing", "--hex", "12"), 4, "count_packets"),
]


def test_bad_input(cli: Cli) -> None:
    for arguments, code, words in BAD_INPUT:
        done = cli.try_("test-run", *arguments)
        assert done.returncode == code, f"{arguments}: {done.stderr}"
        assert words in done.stderr, f"{arguments}: {done.stderr}"
        assert "Traceback" not in done.stderr
