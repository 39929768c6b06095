# SPDX-License-Identifier: Apache-2.0
"""bpfd.v1.Deployments: every call answers UNIMPLEMENTED until deployments are built."""

from __future__ import annotations

from bpfd.v1 import deployments_pb2_grpc


class DeploymentsService(deployments_pb2_grpc.DeploymentsServicer):
    """The generated class answers; the interceptor says so in words."""
