# SPDX-License-Identifier: Apache-2.0
"""What all tests need of the process that runs them."""

from __future__ import annotations

import signal

# A shell's background job ignores Ctrl-C, nohup the end of its terminal; programs that tests
# start would do so too. Set here and not by a preexec_fn: after that fork a child may wait
# forever for a lock that one of gRPC's threads held.
for _number, _handler in (
    (signal.SIGINT, signal.default_int_handler),
    (signal.SIGHUP, signal.SIG_DFL),
):
    if signal.getsignal(_number) is signal.SIG_IGN:
        signal.signal(_number, _handler)
