# SPDX-License-Identifier: Apache-2.0
"""tc by tcx and by clsact: both directions, order, exchange, and what a crash leaves."""

from __future__ import annotations

import dataclasses
import json
import os
import subprocess
from collections.abc import Iterator

import pytest

from bpfd import attach, errors
from bpfd.attach import clsact
from bpfd.attach import tc as tc_hook
from bpfd.attach.adopt import adopt, find_point
from bpfd.attach.attachment import ATOMIC
from bpfd.kernel import netns, syscall, tc
from bpfd.kernel.constants import AttachType
from bpfd.v1 import attach_pb2
from tests.kernel.hooks_support import Pair, Programs, needs_root, programs, veth_pair

pytestmark = needs_root

TCX, CLSACT = attach_pb2.TC_METHOD_TCX, attach_pb2.TC_METHOD_CLSACT
INGRESS, EGRESS = attach_pb2.TC_DIRECTION_INGRESS, attach_pb2.TC_DIRECTION_EGRESS
METHODS = pytest.mark.parametrize("method", ["tcx", "clsact"])


@pytest.fixture
def loaded() -> Iterator[Programs]:
    with programs() as found:
        yield found


@pytest.fixture
def pair(loaded: Programs) -> Iterator[Pair]:
    with veth_pair() as found:
        yield found


@pytest.fixture
def tcx(request: pytest.FixtureRequest) -> None:
    """The kernel has what the test is for."""
    spec = getattr(request.node, "callspec", None)
    method = spec.params.get("method", "tcx") if spec else "tcx"
    if method == "tcx" and not tc_hook.has_tcx():
        pytest.skip("this kernel has no tcx")


def point(pair: Pair, method: str = "", **fields: object) -> attach_pb2.AttachPoint:
    number = {"": attach_pb2.TC_METHOD_UNSPECIFIED, "tcx": TCX, "clsact": CLSACT}[method]
    request = attach_pb2.Tc(interface=pair.interface(), method=number, direction=INGRESS)
    request.MergeFrom(attach_pb2.Tc(**fields))  # type: ignore[arg-type]
    return attach_pb2.AttachPoint(tc=request)


def left(pair: Pair) -> str:
    """Qdiscs and filters of clsact that are there."""
    words = [pair.tc("qdisc", "show", "dev", "hk0")]
    for way in ("ingress", "egress"):
        words.append(pair.tc("filter", "show", "dev", "hk0", way))
    return "".join(each for each in words if "clsact" in each or "bpf" in each)


@METHODS
def test_packets_are_dropped_and_pass_again(
    loaded: Programs, pair: Pair, tcx: None, method: str
) -> None:
    with pair.receiver() as receiver:
        attachment = attach.attach(loaded["tc_drop"], point(pair, method))
        assert attachment.method == method
        assert attachment.pinnable == (method == "tcx")
        pair.send(b"dropped")
        attachment.close()
        pair.send(b"passed")
        assert receiver.recv(100) == b"passed"
    assert loaded.hits("tc_drop") == 1
    assert left(pair) == ""


@METHODS
def test_egress_sees_what_leaves(loaded: Programs, pair: Pair, tcx: None, method: str) -> None:
    attachment = attach.attach(loaded["tc_count"], point(pair, method, direction=EGRESS))
    pair.send(b"in")
    assert loaded.hits("tc") == 0
    with pair.receiver() as sender:
        sender.sendto(b"out", ("10.211.7.1", 9))
    assert loaded.hits("tc") == 1
    attachment.close()


def test_unspecified_takes_tcx_and_numbers_ask_for_clsact(
    loaded: Programs, pair: Pair, tcx: None
) -> None:
    first = attach.attach(loaded["tc_count"], point(pair))
    second = attach.attach(loaded["tc_count"], point(pair, priority=7, handle=9))
    assert (first.method, second.method) == ("tcx", "clsact")
    shown = pair.tc("filter", "show", "dev", "hk0", "ingress")
    assert "pref 7 bpf" in shown
    assert "handle 0x9" in shown
    second.close()
    first.close()


def test_no_tcx_means_clsact(
    loaded: Programs, pair: Pair, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tc_hook, "has_tcx", lambda: False)
    attachment = attach.attach(loaded["tc_count"], point(pair))
    assert attachment.method == "clsact"
    attachment.close()
    with pytest.raises(errors.NotSupported, match="tcx"):
        attach.attach(loaded["tc_count"], point(pair, "tcx"))


def test_tcx_order(loaded: Programs, pair: Pair, tcx: None) -> None:
    drop = attach.attach(loaded["tc_drop"], point(pair, "tcx"))
    order = attach_pb2.Order(before_program_id=loaded["tc_drop"].id)
    count = attach.attach(loaded["tc_count"], point(pair, "tcx", order=order))
    pair.send(b"seen by both")
    assert (loaded.hits("tc"), loaded.hits("tc_drop")) == (1, 1)
    count.close()
    order = attach_pb2.Order(after_link_id=loaded.links()[0])
    behind = attach.attach(loaded["tc_count"], point(pair, "tcx", order=order))
    pair.send(b"dropped before")
    assert (loaded.hits("tc"), loaded.hits("tc_drop")) == (1, 2)
    behind.close()
    first = attach_pb2.Order(first=True)
    front = attach.attach(loaded["tc_count"], point(pair, "tcx", order=first))
    pair.send(b"seen by both")
    assert (loaded.hits("tc"), loaded.hits("tc_drop")) == (2, 3)
    front.close()
    drop.close()


def test_tcx_anchor_that_is_not_there(loaded: Programs, pair: Pair, tcx: None) -> None:
    for order in (
        attach_pb2.Order(before_program_id=1 << 30),
        attach_pb2.Order(after_program_id=loaded["tc_drop"].id),
        attach_pb2.Order(before_link_id=1 << 30),
    ):
        with pytest.raises(errors.NotFound, match="not attached to tcx"):
            attach.attach(loaded["tc_count"], point(pair, "tcx", order=order))
    order = attach_pb2.Order(expected_revision=1 << 40)
    with pytest.raises(errors.KernelError, match="changed since"):
        attach.attach(loaded["tc_count"], point(pair, "tcx", order=order))


@METHODS
def test_update_is_atomic(loaded: Programs, pair: Pair, tcx: None, method: str) -> None:
    with pair.receiver() as receiver:
        attachment = attach.attach(loaded["tc_drop"], point(pair, method))
        pair.send(b"dropped")
        assert attachment.update(loaded["tc_count"]) == ATOMIC
        pair.send(b"passed")
        assert receiver.recv(100) == b"passed"
        assert (loaded.hits("tc"), loaded.hits("tc_drop")) == (1, 1)
        with pytest.raises(errors.InvalidArgument, match="type xdp"):
            attachment.update(loaded["xdp_drop"])
        pair.send(b"still")
        assert receiver.recv(100) == b"still"
        attachment.close()
    assert loaded.hits("tc") == 2
    assert left(pair) == ""


def test_the_plan_touches_nothing_and_is_what_happens(loaded: Programs, pair: Pair) -> None:
    journal = attach.plan(loaded["tc_count"], point(pair, "clsact"))
    assert isinstance(journal, clsact.ClsactJournal)
    assert left(pair) == ""
    attachment = attach.attach(loaded["tc_count"], point(pair, "clsact"), journal)
    shown = pair.tc("filter", "show", "dev", "hk0", "ingress")
    assert f"pref {journal.priority} bpf" in shown
    assert f"handle {journal.handle:#x}" in shown
    attachment.close()


def test_a_later_daemon_undoes_the_journal(loaded: Programs, pair: Pair) -> None:
    plan = attach.plan(loaded["tc_drop"], point(pair, "clsact"))
    assert plan is not None
    journal = attach.journal_from_json(json.loads(json.dumps(plan.to_json())))
    journal.undo()  # killed before the kernel was touched
    attach.attach(loaded["tc_drop"], point(pair, "clsact"), plan).release()
    pair.send(b"dropped")
    assert loaded.hits("tc_drop") == 1
    journal.undo()
    assert left(pair) == ""
    journal.undo()


def test_a_kill_in_the_middle_of_an_update_leaves_one_that_is_found(
    loaded: Programs, pair: Pair
) -> None:
    attachment = attach.attach(loaded["tc_drop"], point(pair, "clsact"))
    note = attachment.journal_for(loaded["tc_count"])
    assert note is not None
    attachment.update(loaded["tc_count"])
    attachment.release()
    attach.journal_from_json(note.to_json()).undo()
    assert left(pair) == ""


def test_a_later_daemon_takes_the_filter_over(loaded: Programs, pair: Pair) -> None:
    first = attach.attach(loaded["tc_drop"], point(pair, "clsact"))
    journal = first.journal
    assert isinstance(journal, clsact.ClsactJournal)
    first.release()
    adopted = journal.adopt(tc_hook.HOOK)
    assert adopted is not None
    assert adopted.update(loaded["tc_count"]) == ATOMIC
    pair.send(b"counted")
    assert (loaded.hits("tc"), loaded.hits("tc_drop")) == (1, 0)
    adopted.close()
    assert left(pair) == ""
    assert journal.adopt(tc_hook.HOOK) is None


def test_undo_leaves_what_is_not_ours(loaded: Programs, pair: Pair) -> None:
    attachment = attach.attach(loaded["tc_drop"], point(pair, "clsact"))
    journal = attachment.journal
    assert isinstance(journal, clsact.ClsactJournal)
    dataclasses.replace(journal, program_ids=(1 << 30,)).undo()
    assert "bpf" in left(pair)
    dataclasses.replace(journal, netns_inode=1, netns_path="").undo()
    assert "bpf" in left(pair)
    attachment.close()


def test_the_qdisc_goes_with_the_last_filter_whatever_the_order(
    loaded: Programs, pair: Pair
) -> None:
    first = attach.attach(loaded["tc_drop"], point(pair, "clsact"))
    second = attach.attach(loaded["tc_count"], point(pair, "clsact", direction=EGRESS))
    first.close()
    assert "clsact" in left(pair)
    second.close()
    assert left(pair) == ""


def test_a_qdisc_that_was_there_stays(loaded: Programs, pair: Pair) -> None:
    pair.tc("qdisc", "add", "dev", "hk0", "clsact")
    attach.attach(loaded["tc_drop"], point(pair, "clsact")).close()
    assert "clsact" in pair.tc("qdisc", "show", "dev", "hk0")
    assert pair.tc("filter", "show", "dev", "hk0", "ingress") == ""


def test_a_filter_of_someone_else_stays_and_goes_behind_ours(
    loaded: Programs, pair: Pair
) -> None:
    pair.tc("qdisc", "add", "dev", "hk0", "clsact")
    words = "filter add dev hk0 ingress pref 1 protocol all matchall action pass"
    try:
        pair.tc(*words.split())
        other = "matchall"
    except subprocess.CalledProcessError:
        with netns.entered(f"/run/netns/{pair.near}"):
            ifindex = pair.indexes()["hk0"]
            tc.attach(ifindex, tc.INGRESS, loaded["tc_drop"].fd, 5, 1, replace=False)
        other = "handle 0x5"
    attachment = attach.attach(loaded["tc_count"], point(pair, "clsact"))
    assert isinstance(attachment.journal, clsact.ClsactJournal)
    assert attachment.journal.priority == 2
    attachment.close()
    assert other in pair.tc("filter", "show", "dev", "hk0", "ingress")


def test_a_taken_handle_says_whose(loaded: Programs, pair: Pair) -> None:
    taken = point(pair, priority=7, handle=9)
    first = attach.attach(loaded["tc_drop"], taken)
    with pytest.raises(errors.AttachBusy, match=r"tc_drop.*held by") as caught:
        attach.attach(loaded["tc_count"], taken)
    assert caught.value.program_id == loaded["tc_drop"].id
    journal = first.journal
    assert isinstance(journal, clsact.ClsactJournal)
    with pytest.raises(errors.AttachBusy, match="faster"):
        attach.attach(loaded["tc_count"], taken, journal)
    first.close()


def test_a_namespace_that_went_is_no_error(loaded: Programs, pair: Pair) -> None:
    attachment = attach.attach(loaded["tc_drop"], point(pair, "clsact"))
    for name in (pair.near, pair.far):
        subprocess.run(["ip", "netns", "del", name], check=True)
    with pytest.raises(errors.NotFound, match="network namespace"):
        attachment.update(loaded["tc_count"])
    attachment.close()


def test_a_filter_that_someone_removed(loaded: Programs, pair: Pair) -> None:
    attachment = attach.attach(loaded["tc_drop"], point(pair, "clsact"))
    pair.tc("qdisc", "del", "dev", "hk0", "clsact")
    with pytest.raises(errors.NotFound, match="someone removed it"):
        attachment.update(loaded["tc_count"])
    attachment.close()


def test_bad_requests(loaded: Programs, pair: Pair) -> None:
    request = point(pair)
    request.tc.direction = attach_pb2.TC_DIRECTION_UNSPECIFIED
    with pytest.raises(errors.InvalidArgument, match="ingress or egress"):
        attach.attach(loaded["tc_count"], request)
    with pytest.raises(errors.InvalidArgument, match="handle and priority are for clsact"):
        attach.attach(loaded["tc_count"], point(pair, "tcx", priority=1))
    order = attach_pb2.Order(first=True)
    with pytest.raises(errors.InvalidArgument, match="clsact goes by priority"):
        attach.plan(loaded["tc_count"], point(pair, "clsact", order=order))
    with pytest.raises(errors.InvalidArgument, match="65535"):
        attach.plan(loaded["tc_count"], point(pair, priority=65536))
    with pytest.raises(errors.InvalidArgument, match="tc takes sched_cls"):
        attach.plan(loaded["xdp_drop"], point(pair))
    request = point(pair, "clsact")
    request.tc.interface.name = "hk1"
    with pytest.raises(errors.NotFound, match="did you mean hk0"):
        attach.plan(loaded["tc_count"], request)
    assert left(pair) == ""


def test_a_pinned_tcx_link_is_adopted(loaded: Programs, pair: Pair, tcx: None) -> None:
    first = attach.attach(loaded["tc_count"], point(pair, "tcx", direction=EGRESS))
    pin = f"/sys/fs/bpf/hk-{os.getpid()}"
    syscall.obj_pin(first.fds[0], pin)
    try:
        first.release()
        adopted = adopt([syscall.obj_get(pin)])
    finally:
        os.unlink(pin)
    found = find_point(adopted.fds).tc
    ifindex = pair.indexes()["hk0"]
    assert (found.interface.ifindex, found.direction) == (ifindex, EGRESS)
    assert (found.method, adopted.method) == (TCX, "tcx")
    with netns.entered(found.interface.netns.path):
        ids, _ = syscall.prog_query(ifindex, AttachType.TCX_EGRESS)
    assert ids == [loaded["tc_count"].id]
    assert adopted.update(loaded["tc_drop"]) == ATOMIC
    adopted.close()
