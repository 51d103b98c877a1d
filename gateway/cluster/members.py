"""The other members of a cluster, as their beats tell."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Collection, Sequence
from typing import Annotated, Literal

import msgspec

from gateway.cluster.bus import MOST_GONE, BusCounts

__all__ = ["BEAT", "LEASE", "MOST_MEMBERS", "Members"]

LOG = logging.getLogger("sockgw.cluster")

BEAT = 3.0
"""Seconds between two beats."""

LEASE = 3.5
"""Beats: a member of which none is heard for so long is gone."""

MOST_MEMBERS = 4_096
"""Members that are known at most; the beats of more are ignored."""

TAG = 5
"""Characters of a tag."""

Word = Literal["new", "here", "bye", "gone"]
"""What a beat says of its member: it has come, is there, leaves, or has ended without a word."""


class _Beat(msgspec.Struct, array_like=True):
    """A beat; `link` is where the member listens for others, `HOST:PORT`, empty if it does not."""

    tag: str
    word: Word
    link: Annotated[str, msgspec.Meta(max_length=300)] = ""


class Members:
    """The members that are heard. `say` sends a beat to one of them, or to all for `None`.

    A member is gone when it says so, when one beside it says so, or when no beat of it comes for
    3.5 times `beat` seconds; `counts` has the number of those that did not say so themselves. What
    is not heard while this member is away itself, or stopped, is held against nobody. The functions
    in `on_link` are called with the tag of a member and where it listens for others, when it says
    so first and when that changes; with `""` if it is gone, or does not listen any more. Those in
    `on_again` are called with the tag of a member that has connected again before it was gone.
    """

    def __init__(
        self,
        own: str,
        say: Callable[[bytes, str | None], None],
        on_joined: Sequence[Callable[[str], None]],
        on_lost: Sequence[Callable[[str], None]],
        beat: float = BEAT,
        counts: BusCounts | None = None,
    ) -> None:
        self.is_deaf = False
        self._counts = counts or BusCounts()
        self._has_left = False
        self.own, self._say = own, say
        self._on_joined, self._on_lost = on_joined, on_lost
        self._beat = beat
        self.on_link: list[Callable[[str, str], None]] = []
        self.on_again: list[Callable[[str], None]] = []
        self._link = ""
        self._links: dict[str, str] = {}
        self._heard: dict[str, float] = {}
        self._missed: dict[str, None] = {}  # those that are gone without a word, for the log
        self._is_echoed = True
        self._next = 0.0

    @property
    def tags(self) -> Collection[str]:
        return self._heard.keys()

    def arrive(self) -> None:
        """Begin to tell the others, because there is a connection, and give all of them time."""
        now = asyncio.get_running_loop().time()
        self._heard = dict.fromkeys(self._heard, now)
        self.is_deaf, self._is_echoed = False, False
        self._next = now + self._beat
        self._tell("new")

    def announce(self, link: str) -> None:
        """Tell the others from now on that this member listens for them there."""
        self._link = link
        self._tell("here")

    def leave(self) -> None:
        """Tell the others that this member is gone."""
        self._has_left = True
        self._tell("bye")

    def ended(self, tag: str) -> None:
        """Tell the others that a member on this machine has ended, if it has not said so itself."""
        if tag in self._heard and not self._has_left:
            self._say(_encoder.encode((tag, "gone")), None)
            self._gone(tag, "its process has ended")

    def echoed(self) -> None:
        """Note that what this member publishes arrives."""
        self._is_echoed = True

    def heard(self, beat: bytes) -> None:
        """Take a beat of any member; one that is none is ignored."""
        try:
            told = _decoder.decode(beat)
        except (ValueError, TypeError):
            return
        tag, word = told.tag, told.word
        if tag == self.own:
            self.echoed()
        elif word == "bye":
            self._lose(tag)
        elif word == "gone":
            self._gone(tag, "its process has ended")
        elif len(tag) == TAG and (tag in self._heard or len(self._heard) < MOST_MEMBERS):
            is_new = tag not in self._heard
            self._heard[tag] = asyncio.get_running_loop().time()
            if word == "new":
                self._tell("here", tag)
            if is_new:
                self._join(tag)
            elif word == "new":
                for again in self.on_again:
                    again(tag)
            if told.link != self._links.get(tag, ""):
                self._links[tag] = told.link
                for linked in self.on_link:
                    linked(tag, told.link)

    def look(self, now: float) -> bool:
        """Send the next beat if it is due, and lose those that are gone; true if it was due."""
        if now < self._next:
            return False
        if now > self._next + self._beat:  # we were stopped: what has come is not read yet
            self._heard = dict.fromkeys(self._heard, now)
            self._is_echoed = True
        self._next = now + self._beat
        if not self._is_echoed:
            self.is_deaf = True
            return False
        self._is_echoed = False
        self._tell("here")
        for tag in [tag for tag, at in self._heard.items() if now - at > LEASE * self._beat]:
            self._gone(tag, f"nothing was heard of it for {LEASE * self._beat:g} s")
        return True

    def _gone(self, tag: str, why: str) -> None:
        """Lose a member that has not said that it leaves."""
        if tag in self._heard:
            self._counts.members_lost += 1
            LOG.warning("member %s is gone: %s", tag, why)
            self._missed[tag] = None
            if len(self._missed) > MOST_GONE:
                del self._missed[next(iter(self._missed))]
            self._lose(tag)

    def _join(self, tag: str) -> None:
        if tag in self._missed:
            del self._missed[tag]
            LOG.info("member %s is back", tag)
        for joined in self._on_joined:
            joined(tag)

    def _lose(self, tag: str) -> None:
        if self._links.pop(tag, ""):
            for linked in self.on_link:
                linked(tag, "")
        if self._heard.pop(tag, None) is not None:
            for lost in self._on_lost:
                lost(tag)

    def _tell(self, word: Word, to: str | None = None) -> None:
        beat = (self.own, word, self._link) if self._link else (self.own, word)
        self._say(_encoder.encode(beat), to)


_encoder = msgspec.msgpack.Encoder()
_decoder = msgspec.msgpack.Decoder(_Beat)
