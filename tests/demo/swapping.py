# SPDX-License-Identifier: Apache-2.0
"""Step 4: another version takes over while packets flow, and none is lost or unfiltered."""

from __future__ import annotations

from collections import Counter
from contextlib import ExitStack, closing

from tests.demo import console, network
from tests.demo.outcome import Deviation, expect
from tests.demo.stage import Stage, total
from tests.demo.traffic import PORT, REFLECTOR_PORT, Flow, Receiver, Stream, settled, wait_until

SWAP_PACKETS = 3000
"""Packets before and behind the exchange."""
SWAP = ("--set", "sample_every=1", "--replace")


def swap(stage: Stage, receiver: Receiver) -> None:
    console.heading("4. A second version takes over while packets flow")
    console.say(f"it drops amplified answers too: UDP from port {REFLECTOR_PORT}")
    before, seen_before = stage.counters(), stage.versions()
    with ExitStack() as stack:
        flows = [
            stack.enter_context(closing(Flow(stage.place, name, source, PORT, port)))
            for name, source, port in (
                ("steady", network.ALLOWED, 0),
                ("attack", network.BLOCKED, 0),
                ("answers", network.ALLOWED, REFLECTOR_PORT),
            )
        ]
        stream = Stream(flows)
        stack.callback(stream.stop)
        stream.start()
        wait_until("the packets flow", lambda: stream.sent >= SWAP_PACKETS)
        at_begin = stream.sent
        stage.bpfctl("load", "bpf/ddos", "--variant", "v2", "--name", "ddos", *SWAP)
        at_end = stream.sent
        wait_until("they still flow", lambda: stream.sent >= at_end + SWAP_PACKETS)
    stage.note()
    sent = {flow.name: flow.sent for flow in flows}
    console.say(f"{at_end - at_begin} packets were sent while the command ran")
    # What is missing after that is judged below.
    settled(lambda: len(receiver.numbers("steady")) >= sent["steady"])
    settled(lambda: total(stage.counters()) - total(before) >= sum(sent.values()))
    _judge(stage, receiver, sent, before, seen_before)


def _judge(
    stage: Stage,
    receiver: Receiver,
    sent: dict[str, int],
    before: Counter[str],
    seen_before: Counter[str],
) -> None:
    arrived = {name: receiver.numbers(name) for name in sent}
    stage.bpfctl("map", "dump", "ddos/versions")
    console.table(
        ("flow", "sent", "received"),
        [(name, count, len(arrived[name])) for name, count in sent.items()],
    )
    lost = set(range(sent["steady"])) - set(arrived["steady"])
    stage.outcome.swapped_loss = len(lost)
    expect("packets lost in the exchange", sorted(lost), [])
    expect("steady packets, in order", arrived["steady"], list(range(sent["steady"])))
    expect("packets of the blocked source that got through", arrived["attack"], [])
    through = len(arrived["answers"])
    # The first version passes them and the second one does not: one cut, no gap.
    expect("answers that came through", arrived["answers"], list(range(through)))
    if not 0 < through < sent["answers"]:
        raise Deviation(f"{through} of {sent['answers']} answers came: not two versions")
    counted = stage.counters() - before
    wanted = Counter(
        PASSED=sent["steady"] + through,
        BLOCKED_SOURCE_V4=sent["attack"],
        BLOCKED_REFLECTION=sent["answers"] - through,
    )
    expect("counters of the exchange", counted, wanted)
    seen = stage.versions() - seen_before
    expect("packets seen by both versions", sum(seen.values()), sum(sent.values()))
    expect("versions that saw packets", sorted(seen), ["V1", "V2"])
    console.say(f"version 1 saw {seen['V1']}, version 2 saw {seen['V2']}, none was missed")
    events = stage.drop_events(sum(counted[each] for each in counted if each != "PASSED"))
    told = Counter(event["reason"] for event in events)
    expect("drop events by reason", told, wanted - Counter(PASSED=wanted["PASSED"]))
    now = stage.counters()
    stage.outcome.passed = sum(now[name] for name in now if name.startswith("PASSED"))
    stage.outcome.blocked = total(now) - stage.outcome.passed
