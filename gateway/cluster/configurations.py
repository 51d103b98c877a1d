"""What each member of a cluster serves, as they tell each other, and if all serve the same.

A member tells the others when one joins, when it serves something else, and once a minute: what was
lost on the way is repaired by that. A member that has told nothing counts for nothing.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable, Collection, Iterator, Mapping, Sequence

from gateway.api import Member
from gateway.cluster.messages import WIRE, Serves

__all__ = ["AGAIN", "PATIENCE", "Configurations"]

LOG = logging.getLogger("sockgw.cluster")

PATIENCE = 120.0
"""Seconds that members may serve different configurations before that is drift.

A change that reaches one machine after the other is none. Kubernetes takes a minute or two until
all have a changed ConfigMap.
"""

AGAIN = 60.0
"""Seconds after which a member tells again what it serves."""

SHORT = 8
"""Characters of a fingerprint that people are shown."""

MOST_NAMED = 3
"""Configurations, and nodes of each, that are named; of more, only the number is."""


class Configurations:
    """What the members serve, as the member `own` knows it. `others` returns the other members.

    `say` sends a `Serves` to one member, or to all for `None`.
    """

    def __init__(
        self,
        own: Member,
        others: Callable[[], Collection[str]],
        say: Callable[[Serves, str | None], None],
    ) -> None:
        self._own, self._others, self._say = own, others, say
        self._serves: Serves | None = None
        self._told: dict[str, Serves] = {}
        self._next = 0.0
        self._began: float | None = None
        self._is_drift = False

    def serve(self, fingerprint: str, since: float, version: str) -> None:
        """Serve something else from now on, and tell the others.

        `since` is in seconds since the epoch, `version` that of the program.
        """
        self._serves = Serves(
            uid=self._own.tag,
            fingerprint=fingerprint,
            since=since,
            version=version,
            worker=self._own.number,
            node=self._own.node,
            wire=WIRE,
        )
        if self._others():
            self._tell(None)
        self._look()

    def joined(self, member: str) -> None:
        """Tell a member that has joined."""
        self._tell(member)

    def heard(self, told: Serves) -> None:
        """Learn what another member serves."""
        if told.uid not in self._others():
            return
        former = self._told.get(told.uid)
        self._told[told.uid] = told
        if former is None or former.fingerprint != told.fingerprint:
            self._look()

    def lost(self, member: str) -> None:
        """Forget a member that is gone."""
        if self._told.pop(member, None) is not None:
            self._look()

    def beat(self) -> None:
        """Do what is due now and then: tell the others again, and tell of drift in the log."""
        now = asyncio.get_running_loop().time()
        if now >= self._next and self._others():
            self._tell(None)
        if self._began is not None and now >= self._began + PATIENCE and not self._is_drift:
            self._is_drift = True
            self._log(
                logging.WARNING,
                "the members of the cluster have not served the same for %g s: %s; bring the same "
                "file and plugins to all",
                *(PATIENCE, self.shares),
            )

    # What is known

    @property
    def members(self) -> Mapping[str, Serves | None]:
        """What each member serves, by its tag; `None` of one that has not told it."""
        others = {tag: self._told.get(tag) for tag in self._others()}
        return {self._own.tag: self._serves, **others}

    @property
    def count(self) -> int:
        """The number of different configurations."""
        return len({each.fingerprint for each in self._known()})

    @property
    def versions(self) -> Sequence[str]:
        """The versions of the program that the members have."""
        return sorted({each.version for each in self._known()})

    @property
    def began(self) -> float | None:
        """When the members began to differ, in seconds since the epoch; `None` if they do not."""
        if self._began is None:
            return None
        return time.time() - (asyncio.get_running_loop().time() - self._began)

    @property
    def drift(self) -> str:
        """Which nodes serve what, if they have differed for too long; or else `""`."""
        return self.shares if self._is_drift else ""

    @property
    def shares(self) -> str:
        """Which nodes serve what, the rarest first."""
        nodes: dict[str, dict[str, None]] = {}
        for each in self._known():
            nodes.setdefault(each.fingerprint, {})[each.node] = None
        rarest = sorted(nodes.items(), key=lambda each: (len(each[1]), each[0]))
        return _named(
            [f"{what[:SHORT]} on {_named(sorted(on), ', ')}" for what, on in rarest], "; "
        )

    def _known(self) -> Iterator[Serves]:
        if self._serves is not None:
            yield self._serves
        yield from self._told.values()

    def _tell(self, to: str | None) -> None:
        if self._serves is not None:
            self._say(self._serves, to)
        if to is None:
            self._next = asyncio.get_running_loop().time() + AGAIN

    def _look(self) -> None:
        """Note when the members begin to differ, and when that is over."""
        if self.count > 1:
            if self._began is None:
                self._began = asyncio.get_running_loop().time()
            return
        self._began = None
        if self._is_drift:
            self._is_drift = False
            self._log(logging.INFO, "all members of the cluster serve the same again")

    def _log(self, level: int, text: str, *args: object) -> None:
        """Log what all workers of a machine see, in one of them."""
        if self._own.number == 1:
            LOG.log(level, text, *args)


def _named(names: Sequence[str], comma: str) -> str:
    more = len(names) - MOST_NAMED
    return comma.join((*names[:MOST_NAMED], f"{more} more") if more > 0 else names)
