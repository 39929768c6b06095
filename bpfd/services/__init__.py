# SPDX-License-Identifier: Apache-2.0
"""gRPC handlers: validate, convert, call, convert back."""
