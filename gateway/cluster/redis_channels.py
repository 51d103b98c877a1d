"""The channels of a cluster in Redis: those of Node's redis-adapter 8, and a few of our own.

`NAME#NAMESPACE#` carries broadcasts, followed by `ROOM#` if Node or an emitter addresses one room;
`NAME-request#NAMESPACE#` requests; `NAME-response#NAMESPACE#` answers to Node servers. Ours are
`NAME-member#TAG#`, for one member, and `NAME-members#` for beats. Nothing is sent to
`NAME-sockgw#NAMESPACE#`: its subscribers are counted.
"""

from __future__ import annotations

import re
from collections.abc import Collection, Iterable
from dataclasses import dataclass

from gateway.cluster.bus import Channel, Kind

__all__ = ["Channels", "Dialects"]

_GLOB = re.compile(rb"[\\*?[\]^-]")

BEAT = b"0#"
"""What follows the name of a member's channel if a beat is for it."""

ALWAYS = "/"
"""The namespace of what is for members rather than for sockets."""


@dataclass(frozen=True, slots=True)
class Dialects:
    """Which others are heard: Node servers, and python-socketio on a channel, `""` for none."""

    node: bool = False
    python_socketio: str = ""


class Channels:
    """The names that the cluster `name` has for the member `tag`."""

    def __init__(self, name: str, tag: str, dialects: Dialects | None = None) -> None:
        dialects = dialects or Dialects()
        self.cluster, self.has_node = name, dialects.node
        self._prefix, self._tag = name.encode(), tag.encode()
        self.beats = self._prefix + b"-members#"
        self._own = self.member(tag)
        self._fixed: dict[bytes, Channel | None] = {
            self.beats: None,
            _escaped(self._own) + b"*": None,
        }
        if dialects.python_socketio:
            outside = Channel(Kind.OUTSIDE, ALWAYS)
            self._fixed[dialects.python_socketio.encode()] = outside
        self._served: dict[bytes, Channel | None] = {}
        self._names: dict[Channel, bytes] = {}
        self._heard: set[bytes] = set()
        self._shared: set[bytes] = set()
        self.serve(())

    # Names

    def member(self, tag: str) -> bytes:
        return b"%b-member#%b#" % (self._prefix, tag.encode())

    def beats_of(self, tag: str) -> bytes:
        """The name of one member's channel for beats."""
        return self.member(tag) + BEAT

    def request(self, namespace: str) -> bytes:
        return b"%b-request#%b#" % (self._prefix, namespace.encode())

    def ours(self, namespace: str) -> bytes:
        """The name whose subscribers are the members that serve a namespace."""
        return b"%b-sockgw#%b#" % (self._prefix, namespace.encode())

    def name(self, channel: Channel, to: str | None, *, is_member: bool = False) -> bytes:
        """The name to publish under; `to` is a member, or a Node server that has asked."""
        namespace = channel.namespace.encode()
        if to is None:
            name = self._names.get(channel)
            if name is None:
                part = b"" if channel.kind is Kind.BROADCAST else b"-request"
                name = self._names[channel] = b"%b%b#%b#" % (self._prefix, part, namespace)
            return name
        if is_member:
            return b"%b%d#%b" % (self.member(to), channel.kind, namespace)
        return b"%b-response#%b#%b#" % (self._prefix, namespace, to.encode())

    # Subscriptions

    @property
    def subscribed(self) -> Collection[bytes]:
        """All names and patterns to subscribe to."""
        return [*self._fixed, *self._served]

    def serve(self, namespaces: Iterable[str]) -> tuple[Collection[bytes], Collection[bytes]]:
        """Serve these namespaces alone; returns the names that are new, and those that are not."""
        before, self._served, self._heard = self._served, {}, set()
        for namespace in {ALWAYS, *namespaces}:
            broadcasts = Channel(Kind.BROADCAST, namespace)
            requests = Channel(Kind.REQUEST, namespace)
            plain = self.name(broadcasts, None)
            self._heard |= {plain, self.request(namespace)}
            self._served[_escaped(plain) + b"*"] = broadcasts
            self._served[self.request(namespace)] = requests
            self._served[self.ours(namespace)] = None
            if self.has_node:
                answers = b"%b-response#%b#" % (self._prefix, namespace.encode())
                self._shared.add(answers)
                for name in (answers, b"%b%b#" % (answers, self._tag)):
                    self._served[name] = Channel(Kind.ANSWER, namespace)
        self._names.clear()
        come = [name for name in self._served if name not in before]
        return come, [name for name in before if name not in self._served]

    def hears(self, name: bytes) -> bool:
        """True if what is published under a name comes back to this member."""
        return name in self._heard

    def is_beat(self, name: bytes) -> bool:
        return name == self.beats or name == self._own + BEAT

    def is_for_others(self, name: bytes, message: bytes) -> bool:
        """True for an answer that Node servers tell to all of them, and not to this member.

        What is for it has the id of its request, of which its tag is a part.
        """
        return name in self._shared and self._tag not in message

    def channel(self, key: bytes, name: bytes) -> Channel | None:
        """The channel of a message that has come under a name, because of a subscription `key`."""
        found = self._served.get(key) or self._fixed.get(key)
        if found is not None or not name.startswith(self._own):
            return found
        kind, _, namespace = name[len(self._own) :].partition(b"#")
        try:
            return Channel(Kind(int(kind)), namespace.decode())
        except ValueError:
            return None


def _escaped(name: bytes) -> bytes:
    """A name as a pattern that matches nothing else."""
    return _GLOB.sub(rb"\\\g<0>", name)
