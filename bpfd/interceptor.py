# SPDX-License-Identifier: Apache-2.0
"""What happens around every call: role, errors to status, audit line, activity count."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import inspect
import logging
from collections import Counter
from collections.abc import AsyncIterator, Awaitable, Callable
from typing import Any, NoReturn

import grpc
import grpc.aio

from bpfd import audit, errors, security, wire
from bpfd.kernel import host

LARGE_REQUEST = 8 << 20
"""Bytes from which on a request's memory is given back to the kernel after the call."""

_REST_SECONDS = 1.0
"""Until then: gRPC lets go of a message a moment after its call."""

_log = logging.getLogger("bpfd.calls")

_EXHAUSTED = {
    errno.EMFILE: "the daemon may open no more files; raise its limit, unload something",
    errno.ENFILE: "the target has no more files to open",
    errno.ENOMEM: "the target is out of memory",
    errno.ENOSPC: "there is no room left",
}
"""What may happen to any call, and what to do about it."""

Context = grpc.aio.ServicerContext[Any, Any]


class Activity:
    """Counts calls that are being served, and tells when one begins or ends."""

    def __init__(self) -> None:
        self.calls = 0
        self.served: Counter[tuple[str, str]] = Counter()
        """Calls that have ended, by "Service.Call" and "ok", "cancelled" or a status."""
        self.watchers: list[Callable[[], None]] = []

    def add(self, number: int) -> None:
        """Counts one more call, or one less."""
        self.calls += number
        for watcher in self.watchers:
            watcher()

    def ended(self, method: str, outcome: str) -> None:
        """Counts a call by how it ended."""
        service, _, name = method.rpartition("/")
        self.served[f"{service.rpartition('.')[2]}.{name}", outcome] += 1


class Interceptor(grpc.aio.ServerInterceptor):
    """One per listening endpoint: `role` for a unix socket, None for client certificates."""

    def __init__(
        self, role: security.Role | None, log: audit.Audit, activity: Activity
    ) -> None:
        self._role = role
        self._audit = log
        self._activity = activity
        self._wrapped: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}

    async def intercept_service(
        self,
        continuation: Callable[
            [grpc.HandlerCallDetails], Awaitable[grpc.RpcMethodHandler[Any, Any] | None]
        ],
        handler_call_details: grpc.HandlerCallDetails,
    ) -> grpc.RpcMethodHandler[Any, Any] | None:
        """Wraps the handler of a call; an unknown call stays unknown."""
        method = handler_call_details.method
        wrapped = self._wrapped.get(method)
        if wrapped is None:
            handler = await continuation(handler_call_details)
            if handler is None:
                return handler
            wrapped = self._wrap(method, handler)
            self._wrapped[method] = wrapped
        return wrapped

    def _wrap(self, method: str, handler: Any) -> grpc.RpcMethodHandler[Any, Any]:
        kind = {
            (False, False): "unary_unary",
            (False, True): "unary_stream",
            (True, False): "stream_unary",
            (True, True): "stream_stream",
        }[bool(handler.request_streaming), bool(handler.response_streaming)]
        inner = getattr(handler, kind)
        call = _Call(self, method, inner, unary_request=not handler.request_streaming)
        if inspect.isasyncgenfunction(inner):
            behaviour: Any = call.stream
        elif inspect.iscoroutinefunction(inner):
            behaviour = call.unary
        else:
            behaviour = call.missing
        make = getattr(grpc, f"{kind}_rpc_method_handler")
        wrapped: grpc.RpcMethodHandler[Any, Any] = make(
            behaviour,
            handler.request_deserializer,
            wire.SERIALIZERS.get(method, handler.response_serializer),
        )
        return wrapped

    def caller(self, context: Context) -> security.Caller:
        """Who calls. Raises PermissionMissing for a certificate without a role."""
        if self._role is not None:
            return security.Caller(self._role, context.peer())
        found = security.role_of_certificate(
            {key: list(values) for key, values in context.auth_context().items()}
        )
        return security.Caller(found.role, context.peer(), found.name)

    def audit(self, *arguments: Any) -> None:
        """Writes one line."""
        self._audit.write(*arguments)

    def active(self, number: int) -> None:
        """Counts the call."""
        self._activity.add(number)

    def ended(self, method: str, outcome: str) -> None:
        """Counts the call by how it ended."""
        self._activity.ended(method, outcome)


class _Call:
    """One method of one endpoint; its functions are what gRPC calls."""

    def __init__(
        self, owner: Interceptor, method: str, inner: Any, unary_request: bool
    ) -> None:
        self._owner = owner
        self._method = method
        self._inner = inner
        self._rule = security.RULES.get(method)
        self._unary_request = unary_request

    async def unary(self, request: Any, context: Context) -> Any:
        """A handler that is a coroutine."""
        served = _Served(self._owner, self._method)
        large = self._unary_request and request.ByteSize() >= LARGE_REQUEST
        try:
            served.enter(self._rule, request if self._unary_request else None, context)
            result = await self._inner(request, context)
            served.outcome = "ok"
            return result
        except BaseException as error:
            # gRPC and the error of an aborted call hold each other until the garbage
            # collector comes, and the error's traceback this frame: a large request must
            # not stay that long.
            del request
            await served.failed(error, context)
        finally:
            served.leave()
            if large:
                # malloc would keep the many pieces of the message for later ones.
                loop = asyncio.get_running_loop()
                loop.call_later(_REST_SECONDS, host.give_back_memory)

    async def stream(self, request: Any, context: Context) -> AsyncIterator[Any]:
        """A handler that is an asynchronous generator."""
        served = _Served(self._owner, self._method)
        messages = self._inner(request, context)
        try:
            served.enter(self._rule, request if self._unary_request else None, context)
            served.started()
            async for message in messages:
                yield message
            served.outcome = "ok"
        except BaseException as error:
            del request  # as in `unary`
            await served.failed(error, context)
        finally:
            try:
                await messages.aclose()
            finally:
                served.leave()

    async def missing(self, request: Any, context: Context) -> NoReturn:
        """The generated base class answers: nobody has written this call yet."""
        service, _, name = self._method.rpartition("/")
        feature = f"the call {service.rpartition('.')[2]}.{name}"
        served = _Served(self._owner, self._method)
        try:
            served.enter(self._rule, request if self._unary_request else None, context)
            raise errors.NotSupported(feature, needs="a newer bpfd on the target")
        except BaseException as error:
            await served.failed(error, context)
        finally:
            served.leave()
        raise AssertionError("unreachable")


class _Served:
    """One call while it is being served."""

    def __init__(self, owner: Interceptor, method: str) -> None:
        self._owner = owner
        self._method = method
        self._caller: security.Caller | None = None
        self._token: Any = None
        self._subject: dict[str, Any] | None = None
        self.outcome = "cancelled"
        owner.active(1)

    def enter(self, rule: security.Rule | None, request: Any, context: Context) -> None:
        """Checks the role. Raises PermissionMissing."""
        service, _, name = self._method.rpartition("/")
        action = f"{service.rpartition('.')[2]}.{name}"
        self._caller = caller = self._owner.caller(context)
        if rule is None:
            raise errors.PermissionMissing("a rule in bpfd.security", str(caller.role), action)
        if request is not None and rule.is_change(request):
            self._subject = audit.subject(request)
        needs = rule.needs(request) if request is not None else rule.role
        if caller.role < needs:
            raise errors.PermissionMissing(f"role {needs}", f"role {caller.role}", action)
        self._token = security.enter(caller)

    def started(self) -> None:
        """A stream may last for days: its line comes at the start, and one more at the end."""
        if self._subject is not None and self._caller is not None:
            self._owner.audit(self._caller, self._method, self._subject, "started")

    async def failed(self, error: BaseException, context: Context) -> None:
        """Ends the call with the status of the error; raises always.

        The audit line is written before the client learns how the call ended.
        """
        if isinstance(error, OSError) and error.errno in _EXHAUSTED:
            hint = _EXHAUSTED[error.errno]
            error = errors.KernelError(self._method.rpartition(".")[2], error.errno, hint)
        if isinstance(error, errors.BpfdError):
            code, message, trailing = errors.to_status(error)
            self.outcome = code.name
            self._write(code.name, message)
            error.with_traceback(None)
            await context.abort(code, message, trailing)
        if isinstance(error, grpc.aio.AbortError):
            self.outcome = "aborted"
            self._write(str(context.code()), str(context.details()))
            raise error
        if not isinstance(error, Exception):
            # Cancelled, closed, or the process ends.
            raise error
        _log.error("%s failed", self._method, exc_info=error)
        error.with_traceback(None)
        what = f"{type(error).__name__}: {error}"
        self.outcome = "INTERNAL"
        self._write(self.outcome, what)
        message = f"internal error in {self._method}: {what[:512]}; see the daemon's log"
        await context.abort(grpc.StatusCode.INTERNAL, message)

    def leave(self) -> None:
        """Writes the audit line, unless `failed` did, and forgets the caller."""
        if self._token is not None:
            # A generator that is closed by the event loop runs in another context, in
            # which nothing was set.
            with contextlib.suppress(ValueError):
                security.leave(self._token)
        self._write(self.outcome)
        self._owner.ended(self._method, self.outcome)
        self._owner.active(-1)

    def _write(self, outcome: str, detail: str = "") -> None:
        if self._subject is not None and self._caller is not None:
            self._owner.audit(self._caller, self._method, self._subject, outcome, detail)
            self._subject = None
