"""Polls whose answers are not taken: one at a time, bounded, however many connections there are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.engineio.frames import Frames
from gateway.engineio.session import Session
from tests.engineio.echo import UNLIMITED
from tests.engineio.recording import RecordingHost, RecordingRequest, RecordingWebSocket, poll, take


def unread(session: Session, message: str) -> RecordingRequest:
    """A poll whose answer is being written, and not taken."""
    session.send(message)
    request = poll(session)
    assert request.woken
    assert session.take(request) == [f"4{message}"]
    return request


def test_next_poll_waits_until_the_answer_before_it_is_written(session: Session) -> None:
    first = unread(session, "a")
    session.send("b")
    second = poll(session)
    session.send("c")
    assert not second.woken
    session.answered(first)
    assert second.woken
    assert session.take(second) == ["4b", "4c"]


def test_it_goes_on_waiting_where_there_is_nothing_to_say(session: Session) -> None:
    first = unread(session, "a")
    second = poll(session)
    session.answered(first)
    assert not second.woken
    session.send("b")
    assert second.woken


def test_a_third_one_is_one_too_many(host: RecordingHost, session: Session) -> None:
    unread(session, "a")
    poll(session)
    third = poll(session)
    assert host.ends == ["transport error"]
    assert third.woken
    assert session.take(third) is None


def test_what_is_being_written_counts(host: RecordingHost) -> None:
    host.limits = replace(UNLIMITED, send_buffer=10)
    session = host.open()
    take(session)
    unread(session, "x" * 9)
    assert session.buffered == 10
    session.send("y")
    assert host.ends == []
    session.send("z")
    assert host.ends == ["slow client"]


def test_once_it_is_written_it_counts_no_more(host: RecordingHost) -> None:
    host.limits = replace(UNLIMITED, send_buffer=10)
    session = host.open()
    take(session)
    session.answered(unread(session, "x" * 9))
    assert session.buffered == 0
    for _ in range(5):
        session.send("y")
    assert host.ends == []


def test_one_message_over_the_bound_has_room_behind_another(host: RecordingHost) -> None:
    """As on a WebSocket, where the connection holds the first."""
    host.limits = replace(UNLIMITED, send_buffer=10)
    session = host.open()
    take(session)
    first = unread(session, "x" * 1000)
    session.send_many(Frames(["y" * 1000]))
    assert host.ends == []
    session.answered(first)
    assert take(session) == ["4" + "y" * 1000]


@pytest.mark.parametrize("probed_first", [False, True])
def test_an_upgrade_frees_the_poll_behind_it_once_the_one_before_is_written(
    host: RecordingHost, session: Session, websocket: RecordingWebSocket, probed_first: bool
) -> None:
    first = unread(session, "a")
    session.open(websocket)
    if probed_first:
        session.receive_on(websocket, "2probe")
    second = poll(session)
    if not probed_first:
        session.receive_on(websocket, "2probe")
    assert not second.woken
    session.answered(first)
    host.pass_time(0.1)
    assert second.woken
    assert session.take(second) == ["6"]


def test_an_upgrade_refuses_the_poll_that_waits_behind_another(
    session: Session, websocket: RecordingWebSocket
) -> None:
    unread(session, "a")
    second = poll(session)
    session.open(websocket)
    session.receive_on(websocket, "2probe")
    session.receive_on(websocket, "5")
    assert second.woken
    assert session.take(second) is None
    session.send("b")
    assert websocket.sent == ["3probe", "4b"]


def test_the_end_hurries_both(host: RecordingHost, session: Session) -> None:
    first = unread(session, "a")
    second = poll(session)
    session.end("ping timeout")
    assert first.hurried
    assert second.woken
    assert session.take(second) == ["1"]
    assert second.hurried


def test_so_does_being_closed_in_order(host: RecordingHost, session: Session) -> None:
    first = unread(session, "a")
    session.send("b")
    second = poll(session)
    session.close()
    assert second.woken
    assert session.take(second) == ["4b", "1"]
    assert first.hurried
    assert second.hurried
    assert host.ends == ["server disconnect"]


def test_the_end_hurries_a_poll_once(session: Session) -> None:
    """The time of a second one would never be taken back, and cut the connection in use again."""
    hurries = []

    class Counting(RecordingRequest):
        def hurry(self) -> None:
            hurries.append(self)

    request = Counting()
    session.poll(request)
    session.close()
    assert session.take(request) == ["1"]
    session.answered(request)
    assert hurries == [request]
