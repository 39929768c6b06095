# SPDX-License-Identifier: Apache-2.0
from __future__ import annotations

import importlib
from pathlib import Path

import pytest

from bpfd import errors, security
from bpfd.security import RULES, Role
from bpfd.v1 import maps_pb2

PROTOS = Path(__file__).parents[3] / "protos" / "bpfd" / "v1"


def _calls() -> set[str]:
    found = set()
    for path in PROTOS.glob("*.proto"):
        module = importlib.import_module(f"bpfd.v1.{path.stem}_pb2")
        for service in module.DESCRIPTOR.services_by_name.values():
            found |= {f"/{service.full_name}/{method.name}" for method in service.methods}
    return found


def test_every_call_has_a_rule_and_every_rule_a_call() -> None:
    calls = _calls()
    assert len(calls) > 40
    ours = {method for method in RULES if method.startswith("/bpfd.v1.")}
    assert ours == calls


def test_health_and_reflection_have_rules() -> None:
    from grpc_health.v1 import health_pb2
    from grpc_reflection.v1alpha import reflection_pb2

    for module in (health_pb2, reflection_pb2):
        for service in module.DESCRIPTOR.services_by_name.values():
            for method in service.methods:
                assert f"/{service.full_name}/{method.name}" in RULES


def test_no_viewer_changes_anything() -> None:
    for method, rule in RULES.items():
        if rule.changes and rule.only_if is None:
            assert rule.role > Role.VIEWER, method


def test_lookup_that_deletes_needs_an_operator() -> None:
    rule = RULES["/bpfd.v1.Maps/Lookup"]
    reading, deleting = maps_pb2.LookupRequest(), maps_pb2.LookupRequest(delete=True)
    assert (rule.needs(reading), rule.is_change(reading)) == (Role.VIEWER, False)
    assert (rule.needs(deleting), rule.is_change(deleting)) == (Role.OPERATOR, True)


def test_require_looks_at_the_caller() -> None:
    token = security.enter(security.Caller(Role.TRACER, "unix:"))
    try:
        security.require(Role.TRACER, "loading a tracepoint program")
        with pytest.raises(errors.PermissionMissing) as caught:
            security.require(Role.OPERATOR, "loading an XDP program")
    finally:
        security.leave(token)
    assert str(caught.value) == (
        "loading an XDP program needs role operator, and there is only role tracer"
    )


def test_outside_of_a_call_nobody_has_a_role() -> None:
    with pytest.raises(errors.PermissionMissing):
        security.caller()


@pytest.mark.parametrize("role", list(Role))
def test_role_of_a_certificate(role: Role) -> None:
    uri = f"bpfd:role:{role}".encode()
    caller = security.role_of_certificate(
        {"x509_subject_alternative_name": [b"host.example", uri], "x509_common_name": [b"ann"]}
    )
    assert (caller.role, caller.name) == (role, "ann")


@pytest.mark.parametrize(
    "uris",
    [[], [b"bpfd:role:"], [b"bpfd:role:root"], [b"bpfd:role:viewer", b"bpfd:role:admin"]],
)
def test_certificates_without_one_known_role_are_refused(uris: list[bytes]) -> None:
    with pytest.raises(errors.PermissionMissing, match="exactly one URI"):
        security.role_of_certificate({"peer_uri": uris})
