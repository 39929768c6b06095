# SPDX-License-Identifier: Apache-2.0
"""Several XDP programs on one interface, composed into one."""
