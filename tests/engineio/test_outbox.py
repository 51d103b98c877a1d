"""What a client has yet to take: bounded, in order, and never half of what belongs together."""

from __future__ import annotations

from dataclasses import replace
from math import inf
from typing import Literal

import pytest
from hypothesis import given
from hypothesis import strategies as st

from gateway.engineio.frames import Frames
from gateway.engineio.packet import Packet
from gateway.engineio.session import Session
from tests.engineio.echo import UNLIMITED, say
from tests.engineio.recording import RecordingHost, RecordingWebSocket, take

OnSlow = Literal["disconnect", "drop_oldest", "drop_newest"]


def slow(
    on_slow: OnSlow = "disconnect", send_buffer: float = inf, send_packets: float = inf
) -> tuple[RecordingHost, Session, RecordingWebSocket]:
    """A session on a WebSocket that takes nothing any more."""
    limits = replace(UNLIMITED, on_slow=on_slow, send_buffer=send_buffer, send_packets=send_packets)
    host = RecordingHost()
    host.limits = limits
    session, websocket = host.open("websocket"), RecordingWebSocket()
    session.open(websocket)
    websocket.sent.clear()
    session.pause(websocket)
    return host, session, websocket


def event(session: Session, *messages: str | bytes) -> None:
    session.send_many(Frames(messages), droppable=True)


class TestPaused:
    def test_what_is_sent_meanwhile_goes_out_in_order(self) -> None:
        _, session, websocket = slow()
        say(session, "a")
        session.send_many(Frames(["b", b"c"]))
        assert websocket.sent == []
        assert session.buffered == 5 + RecordingWebSocket.buffered
        session.resume(websocket)
        say(session, "d")
        assert websocket.sent == ["4a", "4b", b"c", "4d"]
        assert session.buffered == RecordingWebSocket.buffered

    def test_it_may_be_paused_again_before_all_is_out(self) -> None:
        sent: list[Packet] = []

        class Once(RecordingWebSocket):
            def send_many(self, frames: Frames) -> None:
                sent.extend(frames.packets)
                session.pause(self)

        host = RecordingHost()
        session, once = host.open("websocket"), Once()
        session.open(once)
        session.pause(once)
        for text in "abc":
            say(session, text)
        session.resume(once)
        assert sent == ["4a"]
        session.resume(once)
        session.resume(once)
        assert sent == ["4a", "4b", "4c"]

    def test_a_ping_overtakes_what_waits(self) -> None:
        host, session, websocket = slow()
        say(session, "a")
        host.pass_time(session.settings.ping_interval)
        session.resume(websocket)
        assert websocket.sent == ["2", "4a"]

    @pytest.mark.parametrize("reason", ["server disconnect", "server shutting down"])
    def test_the_server_closes_behind_what_waits(self, reason) -> None:
        _, session, websocket = slow()
        say(session, "last")
        session.close(reason)
        assert websocket.sent == ["4last"]
        assert websocket.closed

    @pytest.mark.parametrize("text", ["abc", "\u00e9\u00e9\u00e9"])
    def test_what_others_have_taken_already_is_counted_out_as_it_was_counted_in(
        self, text: str
    ) -> None:
        host, session, websocket = slow()
        other = host.open()
        broadcast = Frames.of_text(text.encode())
        for each in (session, other):
            each.send_many(broadcast)
        take(other)
        session.resume(websocket)
        assert websocket.sent == [f"4{text}"]
        assert session.buffered == RecordingWebSocket.buffered

    def test_another_websocket_has_no_say(self) -> None:
        _, session, websocket = slow()
        other = RecordingWebSocket()
        session.resume(other)
        say(session, "a")
        assert other.sent == websocket.sent == []


class TestFull:
    def test_the_client_is_disconnected_and_what_waits_is_dropped(self) -> None:
        host, session, websocket = slow(send_buffer=3)
        say(session, "abc")
        assert host.ends == []
        say(session, "d")
        assert host.ends == ["slow client"]
        assert websocket.closed
        assert websocket.sent == []
        assert host.limits_met.counts["send_buffer"] == 1

    def test_on_polling_as_well(self) -> None:
        host = RecordingHost(send_packets=2)
        session = host.open()
        take(session)
        for _ in range(3):
            event(session, "a")
        assert host.ends == ["slow client"]

    def test_what_is_larger_than_the_bound_is_taken_while_there_is_room(self) -> None:
        host, session, websocket = slow(send_buffer=3)
        say(session, "abcdefgh")
        session.resume(websocket)
        assert websocket.sent == ["4abcdefgh"]
        assert host.ends == []

    def test_packets_are_bounded_too(self) -> None:
        host, session, _ = slow(send_packets=2)
        for _ in range(3):
            event(session, "a")
        assert host.ends == ["slow client"]

    @pytest.mark.parametrize(
        ("on_slow", "left"),
        [("drop_oldest", ["4b", b"2", "4c", b"3"]), ("drop_newest", ["4a", b"1", "4b", b"2"])],
    )
    def test_whole_events_are_dropped(self, on_slow: OnSlow, left: list[Packet]) -> None:
        host, session, websocket = slow(on_slow, send_packets=2)
        for text, data in (("a", b"1"), ("b", b"2"), ("c", b"3")):
            event(session, text, data)
        session.resume(websocket)
        assert websocket.sent == left
        assert host.ends == []
        assert host.limits_met.counts["send_packets"] == 1
        assert host.limits_met.counts["send_buffer"] == 0

    @pytest.mark.parametrize(("on_slow", "left"), [("drop_oldest", "4b"), ("drop_newest", "4a")])
    def test_an_ack_makes_an_event_give_way(self, on_slow: OnSlow, left: Packet) -> None:
        _, session, websocket = slow(on_slow, send_packets=2)
        event(session, "a")
        event(session, "b")
        say(session, "ack")
        session.resume(websocket)
        assert websocket.sent == [left, "4ack"]

    @pytest.mark.parametrize("on_slow", ["drop_oldest", "drop_newest"])
    def test_acks_alone_are_too_much_as_well(self, on_slow: OnSlow) -> None:
        host, session, _ = slow(on_slow, send_packets=2)
        for _ in range(3):
            say(session, "ack")
        assert host.ends == ["slow client"]

    @pytest.mark.parametrize("on_slow", ["drop_oldest", "drop_newest"])
    def test_an_event_gives_way_to_the_acks_that_wait(self, on_slow: OnSlow) -> None:
        host, session, websocket = slow(on_slow, send_packets=2)
        say(session, "ack")
        say(session, "ack too")
        event(session, "a")
        assert host.ends == []
        session.resume(websocket)
        assert websocket.sent == ["4ack", "4ack too"]

    def test_the_bound_is_that_of_now(self) -> None:
        host, session, _ = slow()
        say(session, "abc")
        host.limits = replace(UNLIMITED, send_buffer=3)
        say(session, "d")
        assert host.ends == ["slow client"]


@given(
    st.lists(
        st.one_of(
            st.tuples(st.just("send"), st.booleans(), st.integers(1, 3)),
            st.tuples(st.sampled_from(["pause", "resume"])),
        ),
        max_size=40,
    ),
    st.sampled_from(["drop_oldest", "drop_newest"]),
    st.integers(1, 6),
)
def test_whatever_happens_parcels_are_whole_and_in_order(
    steps: list[tuple[object, ...]], on_slow: OnSlow, bound: int
) -> None:
    host, session, websocket = slow(on_slow, send_packets=bound)
    sent: list[tuple[bool, list[Packet]]] = []
    for number, (step, *facts) in enumerate(steps):
        if step == "send":
            droppable, parts = facts
            assert isinstance(parts, int)
            sent.append((bool(droppable), [f"4{number}", *([b"%d" % number] * (parts - 1))]))
            session.send_many(Frames([f"{number}", *sent[-1][1][1:]]), bool(droppable))
        else:
            (session.pause if step == "pause" else session.resume)(websocket)
    session.resume(websocket)
    got = websocket.sent
    kept = [packets for _, packets in sent if packets[0] in got]
    assert got == [packet for packets in kept for packet in packets]
    if not host.ends:
        assert all(droppable for droppable, packets in sent if packets not in kept)
