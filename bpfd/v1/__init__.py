# SPDX-License-Identifier: Apache-2.0
"""Generated from protos/bpfd/v1: do not edit, run `make protos`."""
