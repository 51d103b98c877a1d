"""The lead: the one member that runs services of which there is only one.

Each member tells those that join who it is, and if it leads. One that leads does so until it is
gone; then, and in the beginning, the lowest worker number leads. Should two lead, because they did
not know each other, the higher number gives it up. Members on other machines have a lead of their
own.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection
from contextlib import suppress
from math import inf

from gateway.api import Member
from gateway.cluster.messages import Hello

__all__ = ["Lead"]

LOG = logging.getLogger("sockgw.cluster")

DECIDE = 2.0
"""Seconds that the start of a service waits until it is known which member leads."""


class Lead:
    """The lead, as the member `own` sees it. `others` returns the tags of the other members.

    `say` sends a `Hello` to one member, or to all for `None`. `changed` is called when this member
    gets the lead or gives it up. Services may then take as long as they like to end.
    """

    stop_within = inf

    def __init__(
        self,
        own: Member,
        others: Callable[[], Collection[str]],
        say: Callable[[Hello, str | None], None],
        changed: Callable[[], None],
    ) -> None:
        self.is_here = False
        self._own = own
        self._others = others
        self._say = say
        self._changed = changed
        self._known: dict[str, Hello] = {}
        self._decided = asyncio.Event()
        self._is_leaving = False

    def leave(self) -> None:
        """Do not get the lead any more: this member ends, and maybe all others do."""
        self._is_leaving = True

    @property
    def holder(self) -> str | None:
        """The tag of the member that leads; `None` if that is not known."""
        if self.is_here:
            return self._own.tag
        leaders = [each for each in self._beside() if each.leads]
        return min(leaders, key=self._rank).uid if leaders else None

    async def decide(self) -> None:
        """Wait until it is known which member leads, at most two seconds."""
        self._look()
        with suppress(TimeoutError):
            async with asyncio.timeout(DECIDE):
                await self._decided.wait()

    def joined(self, tag: str) -> None:
        """Introduce this member to another."""
        self._say(self._hello(), tag)

    def heard(self, hello: Hello) -> None:
        """Learn who another member is.

        One that was not known is told who this is: the first `Hello` may have come too early.
        """
        if hello.uid not in self._others():
            return
        is_new = hello.uid not in self._known
        self._known[hello.uid] = hello
        if is_new:
            self.joined(hello.uid)
        self._look()

    def lost(self, tag: str) -> None:
        """Forget a member that is gone."""
        self._known.pop(tag, None)
        self._look()

    def _look(self) -> None:
        beside = self._beside()
        leaders = [self._rank(each) for each in beside if each.leads]
        if self.is_here:
            if any(each < (self._own.number, self._own.tag) for each in leaders):
                self._set(False)
        elif self._is_leaving:
            pass
        elif not leaders and self._known.keys() >= set(self._others()):
            ranks = map(self._rank, beside)
            if all((self._own.number, self._own.tag) < each for each in ranks):
                self._set(True)
        if self.is_here or leaders:
            self._decided.set()
        else:
            self._decided.clear()

    def _beside(self) -> list[Hello]:
        """The other members on this machine."""
        return [each for each in self._known.values() if each.node == self._own.node]

    def _set(self, is_here: bool) -> None:
        self.is_here = is_here
        LOG.debug("this member %s", "leads" if is_here else "no longer leads")
        self._say(self._hello(), None)
        self._changed()

    def _hello(self) -> Hello:
        own = self._own
        return Hello(uid=own.tag, worker=own.number, node=own.node, leads=self.is_here)

    @staticmethod
    def _rank(hello: Hello) -> tuple[int, str]:
        return hello.worker, hello.uid
