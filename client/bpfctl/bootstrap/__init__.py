# SPDX-License-Identifier: Apache-2.0
"""A daemon on targets where nothing is installed: put there, started, replaced, removed."""
