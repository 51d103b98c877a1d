"""The model: what a room and a fleet take, from a few constants. Pure functions.

Constants are microseconds of CPU time and bytes. A message costs a share of the write that it came
in, and something of its own: `Cost(write, each)` of `b` messages in one write is `write / b + each`
for each of them.
"""

from __future__ import annotations

from dataclasses import dataclass, replace

__all__ = [
    "BEAT",
    "Constants",
    "Cost",
    "Fleet",
    "Load",
    "Needs",
    "Room",
    "most",
    "needs",
    "room",
    "touched",
]

BEAT = 3.0
"""Seconds between two beats of a member."""

US = 1e-6


@dataclass(frozen=True, slots=True)
class Cost:
    """What a message costs: `write` once for each write, `each` for itself."""

    write: float
    each: float

    def of(self, batch: float) -> float:
        """The cost of one of `batch` messages in a write."""
        return self.write / batch + self.each

    @classmethod
    def fitted(cls, one: float, many: float, batch: int) -> Cost:
        """Fit the cost of one message alone, and of one of `batch`; neither part is negative."""
        write = max(0.0, (one - many) / (1 - 1 / batch))
        return cls(write, max(0.0, many - write / batch))


@dataclass(frozen=True, slots=True)
class Constants:
    """What was measured.

    Microseconds of CPU: `call` is an event and its ack, `emit` an emit with its local part but for
    the sockets, `deliver` what each socket takes, `publish` and `receive` a message over the bus,
    `encode` what a member does for it before it sends to sockets, `broker` and `subscriber` what
    the broker does for a message, and for each member that gets it. `connect` is a connection on a
    WebSocket, `heartbeat` a ping and its pong, `polled` an acked call by polling, `beat` a member's
    beat that is received, `idle` and `link` what a member that does nothing takes in a second, and
    each link to another.

    Bytes: `process` of a member, `socket` of a WebSocket in a namespace, `polling` of a session by
    polling, `membership` of a socket in a room, `message` of a message on the bus.
    """

    call: float
    emit: Cost
    deliver: Cost
    publish: Cost
    receive: Cost
    encode: float
    broker: Cost
    subscriber: Cost
    connect: float
    heartbeat: float
    polled: float
    beat: float
    idle: float
    link: float
    process: float
    socket: float
    polling: float
    membership: float
    message: float


@dataclass(frozen=True, slots=True)
class Load:
    """A room of `sockets`, spread evenly over `touched` of `members`; `batch` messages at once.

    All members get each message, as they subscribe to the namespace. With `by_room`, only those do
    that have sockets in it: nothing works so yet.
    """

    members: int
    touched: float
    sockets: float
    batch: float = 1
    by_room: bool = False

    @property
    def reached(self) -> float:
        """The members that get a message."""
        return self.touched if self.by_room else self.members


@dataclass(frozen=True, slots=True)
class Room:
    """What each message to a room takes, in microseconds.

    `sender` is the member that sends it, which is touched if any is; `there` another that is
    touched, `elsewhere` one that is not. `sent` are the bytes that the broker sends.
    """

    sender: float
    there: float
    elsewhere: float
    broker: float
    sent: float

    def members(self, load: Load) -> float:
        """What all members take together."""
        there = max(0.0, load.touched - 1)
        elsewhere = max(0.0, load.reached - 1 - there)
        return self.sender + there * self.there + elsewhere * self.elsewhere


def touched(sockets: float, members: int) -> float:
    """The members that have one at least of so many sockets, which are where chance has them."""
    return members * (1 - (1 - 1 / members) ** sockets)


def room(constants: Constants, load: Load) -> Room:
    """What a message to a room takes."""
    each = load.sockets / load.touched if load.touched else 0.0
    delivering = each * constants.deliver.of(load.batch)
    is_alone = load.members == 1
    elsewhere = 0.0 if is_alone else constants.receive.of(load.batch)
    publish = 0.0 if is_alone else constants.publish.of(load.batch)
    return Room(
        sender=constants.emit.of(load.batch) + publish + delivering,
        there=elsewhere + constants.encode + delivering,
        elsewhere=elsewhere,
        broker=_brokered(constants, load.reached, load.batch),
        sent=load.reached * constants.message,
    )


def _brokered(constants: Constants, members: float, batch: float) -> float:
    return constants.broker.of(batch) + members * constants.subscriber.of(batch)


@dataclass(frozen=True, slots=True)
class Fleet:
    """All of a cluster's work: `sockets` on `members`, and what they do in a second.

    `calls` are of each socket, `messages` to rooms of `room` sockets of all together, `lists` are
    calls of `count()`. A socket pings every `ping` seconds and stays for `stay` seconds. Messages
    are `batch` in a write. With `links`, members are linked by `cluster.listen`.
    """

    sockets: float
    members: int
    messages: float
    room: float = 10
    calls: float = 0.02
    lists: float = 0.0
    rooms: float = 3
    ping: float = 25.0
    stay: float = 1200.0
    batch: float = 1
    links: bool = True
    by_room: bool = False


@dataclass(frozen=True, slots=True)
class Needs:
    """What a fleet takes. Cores of each member by what for, and of the broker; bytes.

    `sent` are the bytes that the broker sends in a second, `memory` those of a member.
    """

    member: dict[str, float]
    broker: dict[str, float]
    sent: float
    memory: float
    connections: int


def needs(constants: Constants, fleet: Fleet) -> Needs:
    """What each member and the broker take, if sockets and work are spread evenly."""
    members, each = fleet.members, fleet.sockets / fleet.members
    k = touched(fleet.room, members)
    load = Load(members, k, fleet.room, fleet.batch, fleet.by_room)
    deliver = constants.deliver.of(fleet.batch)
    rate, cost = fleet.messages * US, room(constants, load)
    beats = members / BEAT * US
    asked = fleet.lists * US
    answers = members * _brokered(constants, 1, 1) + _brokered(constants, members, 1)
    return Needs(
        member={
            "connections": each / fleet.stay * constants.connect * US,
            "pings": each / fleet.ping * constants.heartbeat * US,
            "calls": each * fleet.calls * constants.call * US,
            "deliveries": rate * fleet.room * deliver / members,
            "bus": rate * (cost.members(load) - fleet.room * deliver) / members,
            "lists": asked * (constants.receive.of(1) + constants.publish.of(1)) * 2,
            "idle": constants.idle * US,
            "beats": beats * constants.beat,
            "links": (members - 1) * constants.link * US if fleet.links else 0.0,
        },
        broker={
            "messages": rate * cost.broker,
            "beats": beats * _brokered(constants, members, 1),
            "lists": asked * answers,
        },
        sent=fleet.messages * cost.sent,
        memory=constants.process + each * (constants.socket + fleet.rooms * constants.membership),
        connections=int(each) + (2 * (members - 1) if fleet.links else 0) + 1,
    )


def most(constants: Constants, fleet: Fleet, broker: float, member: float) -> dict[str, float]:
    """The messages a second that a fleet can send to rooms, by what is full then.

    `broker` are the cores that the broker has, `member` those of each member that may go into the
    bus; what nobody sends is subtracted.
    """
    rest, one = (needs(constants, replace(fleet, messages=count)) for count in (0.0, 1.0))
    used = sum(rest.broker.values())
    return {
        "Redis": max(0.0, broker - used) / one.broker["messages"],
        "members": max(0.0, member - rest.member["beats"] - rest.member["links"])
        / one.member["bus"],
    }
