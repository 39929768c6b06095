# SPDX-License-Identifier: Apache-2.0
"""Profiles: stacks with values, taken on a target, shown and written as files."""
