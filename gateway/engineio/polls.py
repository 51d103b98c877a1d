"""The requests of a client on HTTP long-polling, and in which order they are answered."""

from __future__ import annotations

from gateway.engineio.carrier import Poll, Post

__all__ = ["Polls"]


class Polls:
    """At most one GET that waits, one whose answer is being written, and one POST.

    A client has the answer to a GET before it sends the next. One that does not take its answers
    is not given another, on however many connections it asks: each would stay in memory.
    """

    __slots__ = ("_answering", "_post", "_waiting")

    def __init__(self) -> None:
        self._waiting: Poll | None = None
        self._answering: Poll | None = None
        self._post: Post | None = None

    def __contains__(self, carrier: object) -> bool:
        """Whether a GET is not over yet."""
        return carrier is not None and carrier in (self._waiting, self._answering)

    @property
    def ready(self) -> bool:
        """Whether a GET waits, and for nothing but packets."""
        return self._waiting is not None and self._answering is None

    def enter(self, poll: Poll) -> bool:
        """A GET came; false if one waits already."""
        if self._waiting is not None:
            return False
        self._waiting = poll
        return True

    def wake(self) -> None:
        """Have the GET that waits answered."""
        if self._waiting is not None:
            self._waiting.wake()

    def drop(self) -> None:
        """Have it refused."""
        self.wake()
        self._waiting = None

    def take(self, poll: Poll) -> bool:
        """A GET that was woken is to be answered; false if it is to be refused."""
        if poll is not self._waiting:
            return False
        if self._answering is not None:
            self._answering.hurry()
        self._waiting, self._answering = None, poll
        return True

    def answered(self, poll: Poll) -> bool:
        """The answer to a GET is written; false if that is nobody's business any more."""
        if poll is not self._answering:
            return False
        self._answering = None
        return True

    def post(self, post: Post) -> bool:
        """A POST came; false if there is one already."""
        if self._post is not None:
            return False
        self._post = post
        return True

    def posted(self) -> None:
        """The POST is over."""
        self._post = None

    def end(self) -> None:
        """The session is over: what is still under way is to be so soon."""
        self.wake()
        for request in filter(None, (self._answering, self._post)):
            request.hurry()
