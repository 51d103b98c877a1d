"""Checks tokens (JWT); PyJWT verifies them."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from time import monotonic
from typing import Any

import jwt as pyjwt

from gateway import Context, Next, Reject
from gateway.builtin._credential import Credential
from gateway.builtin._keys import FAULTS, Find
from gateway.builtin._stays import Claims, stay

__all__ = ["Guard", "Tokens"]


INTERVAL = 1.0
"""Seconds between two log lines about tokens."""


class _Refused(Exception):
    """An invalid token; the text is for the log. `expired` if it is otherwise valid."""

    def __init__(self, reason: str, *, expired: bool = False) -> None:
        self.expired = expired
        super().__init__(reason)


@dataclass(frozen=True, slots=True)
class Tokens:
    """The requirements for tokens; `None` as `issuer` accepts any.

    If `audience` is `None`, a token that names an audience is refused: it is meant for someone else
    (RFC 7519, section 4.1.3). `leeway` is in seconds.
    """

    algorithms: Sequence[str]
    issuer: Sequence[str] | None
    audience: Sequence[str] | None
    leeway: float
    require: Sequence[str]
    find: Find

    async def claims(self, token: str) -> Claims:
        """Verify a token and return its claims. Raises `_Refused`, and whatever `find` raises."""
        try:
            header = pyjwt.get_unverified_header(token)
        except FAULTS as error:
            raise _Refused(type(error).__name__) from None
        algorithm = str(header.get("alg"))
        if algorithm not in self.algorithms:
            raise _Refused("its algorithm is not among those allowed")
        key = await self.find(header.get("kid"), algorithm)
        if key is None:
            raise _Refused("there is no key for it")
        try:
            return self._verified(token, key, algorithm)
        except pyjwt.ExpiredSignatureError:
            raise _Refused("it has expired", expired=True) from None
        except FAULTS as error:
            raise _Refused(type(error).__name__) from None

    def _verified(self, token: str, key: Any, algorithm: str) -> Claims:
        return pyjwt.decode(
            token,
            key,
            algorithms=[algorithm],
            issuer=self.issuer,
            audience=self.audience,
            leeway=self.leeway,
            options={"require": list(self.require), "enforce_minimum_key_length": True},
        )


class Guard:
    """Lets sockets in that show a valid token."""

    def __init__(self, tokens: Tokens, shown: Credential, ends_with_token: bool) -> None:
        self.leeway = tokens.leeway
        self.ends_with_token = ends_with_token
        self._tokens = tokens
        self._shown = shown
        self._silent_until = 0.0
        self._unlogged = 0

    async def enter(self, ctx: Context, next: Next) -> None:
        """Connection middleware: accept clients with a valid token."""
        claims = await self.claims(self._shown(ctx.socket.handshake))
        if "sub" in claims:
            ctx.socket.data["user"] = claims["sub"]
        with stay(ctx, self, claims):
            await next()

    async def claims(self, token: str | None) -> Claims:
        """Return the claims of a valid token. Raises `Reject`."""
        if not token:
            raise Reject("unauthorized", "a valid token is needed")
        try:
            return await self._tokens.claims(token)
        except _Refused as reason:
            # Do not help a thief, but tell a client when to get a new token.
            message = "the token has expired" if reason.expired else "a valid token is needed"
            reject = Reject("unauthorized", message)
            reject.add_note(f"token refused: {reason}")
            raise reject from None

    def log(self, ctx: Context, text: str) -> None:
        """Log a line, or count it if the last one was less than a second ago."""
        now = monotonic()
        if now < self._silent_until:
            self._unlogged += 1
            return
        left_out, self._unlogged = self._unlogged, 0
        self._silent_until = now + INTERVAL
        more = f" ({left_out} more)" if left_out else ""
        ctx.log.info("%s%s", text, more)
