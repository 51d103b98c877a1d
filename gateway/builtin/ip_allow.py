"""`builtin.ip_allow`: accepts clients from these networks only."""

from __future__ import annotations

from gateway import Context, Middleware, Next, Reject
from gateway.builtin._address import client_address, is_in, networks

__all__ = ["ip_allow"]


def ip_allow(allow: list[str], trusted_proxies: tuple[str, ...] = ()) -> Middleware:
    """Connection middleware that checks the client's address.

    Networks in `allow` may connect. Both options are CIDRs. `X-Forwarded-For` counts as far as
    `trusted_proxies` wrote it; without them it is ignored. A client whose address cannot be parsed
    is refused.
    """
    if not allow:
        raise ValueError("option 'allow' is empty: nobody could connect")
    allowed = networks("allow", allow)
    address_of = client_address(networks("trusted_proxies", trusted_proxies))

    async def check(ctx: Context, next: Next) -> None:
        address = address_of(ctx.socket.handshake)
        if address is None or not is_in(address, allowed):
            reject = Reject("forbidden", "address not allowed")
            reject.add_note(f"add {address} to allow" if address else "it has no address")
            raise reject
        await next()

    return check
