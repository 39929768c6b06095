# SPDX-License-Identifier: Apache-2.0
"""SSH as its users expect it: configuration, host keys, logins, jump hosts, and a shell."""
