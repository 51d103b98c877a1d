"""The lead, as one member sees it."""

from __future__ import annotations

from gateway.api import Member
from gateway.cluster.lead import Lead


async def test_a_member_that_ends_does_not_get_the_lead() -> None:
    """When a gateway stops, no service moves to the worker that stops last."""
    changes: list[str] = []
    tags = {"first"}
    own = Member(tag="other", number=2, node="here")
    lead = Lead(own, lambda: tags, lambda hello, to: None, lambda: changes.append("got it"))
    lead.leave()
    tags.clear()
    lead.lost("first")
    assert (lead.is_here, changes) == (False, [])
