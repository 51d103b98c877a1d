"""Polls whose answers are not taken: one at a time, bounded, however many connections there are."""

from __future__ import annotations

from dataclasses import replace

import pytest

from gateway.engineio.frames import Frames
from gateway.engineio.session import Session
from tests.engineio.echo import UNLIMITED, say
from tests.engineio.recording import (
    RecordingHost,
    RecordingRequest,
    RecordingWebSocket,
    answered,
    next_payload,
    poll,
    take,
)


def unread(session: Session, message: str) -> RecordingRequest:
    """A poll whose answer is being written, and not taken."""
    say(session, message)
    request = poll(session)
    assert request.woken
    assert next_payload(request) == [f"4{message}"]
    return request


def test_next_poll_waits_until_the_answer_before_it_is_written(session: Session) -> None:
    first = unread(session, "a")
    say(session, "b")
    second = poll(session)
    say(session, "c")
    assert not second.woken
    answered(first)
    assert second.woken
    assert next_payload(second) == ["4b", "4c"]


def test_it_goes_on_waiting_where_there_is_nothing_to_say(session: Session) -> None:
    first = unread(session, "a")
    second = poll(session)
    answered(first)
    assert not second.woken
    say(session, "b")
    assert second.woken


def test_a_third_one_is_one_too_many(host: RecordingHost, session: Session) -> None:
    unread(session, "a")
    poll(session)
    third = poll(session)
    assert host.ends == ["transport error"]
    assert third.woken
    assert next_payload(third) is None


def test_what_is_being_written_counts(host: RecordingHost) -> None:
    host.limits = replace(UNLIMITED, send_buffer=10)
    session = host.open()
    take(session)
    unread(session, "x" * 9)
    assert session.buffered == 10
    say(session, "y")
    assert host.ends == []
    say(session, "z")
    assert host.ends == ["slow client"]


def test_once_it_is_written_it_counts_no_more(host: RecordingHost) -> None:
    host.limits = replace(UNLIMITED, send_buffer=10)
    session = host.open()
    take(session)
    answered(unread(session, "x" * 9))
    assert session.buffered == 0
    for _ in range(5):
        say(session, "y")
    assert host.ends == []


def test_one_message_over_the_bound_has_room_behind_another(host: RecordingHost) -> None:
    """As on a WebSocket, where the connection holds the first."""
    host.limits = replace(UNLIMITED, send_buffer=10)
    session = host.open()
    take(session)
    first = unread(session, "x" * 1000)
    session.send_many(Frames(["y" * 1000]))
    assert host.ends == []
    answered(first)
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
    answered(first)
    host.pass_time(0.1)
    assert second.woken
    assert next_payload(second) == ["6"]


def test_an_upgrade_refuses_the_poll_that_waits_behind_another(
    session: Session, websocket: RecordingWebSocket
) -> None:
    unread(session, "a")
    second = poll(session)
    session.open(websocket)
    session.receive_on(websocket, "2probe")
    session.receive_on(websocket, "5")
    assert second.woken
    assert next_payload(second) is None
    say(session, "b")
    assert websocket.sent == ["3probe", "4b"]


def test_the_end_expires_both(host: RecordingHost, session: Session) -> None:
    first = unread(session, "a")
    second = poll(session)
    session.end("ping timeout")
    assert first.expires
    assert second.woken
    assert next_payload(second) == ["1"]
    assert second.expires


def test_so_does_being_closed_in_order(host: RecordingHost, session: Session) -> None:
    first = unread(session, "a")
    say(session, "b")
    second = poll(session)
    session.close()
    assert second.woken
    assert next_payload(second) == ["4b", "1"]
    assert first.expires
    assert second.expires
    assert host.ends == ["server disconnect"]


def test_the_end_expires_a_poll_once(session: Session) -> None:
    """The time of a second one would never be taken back, and cut the connection in use again."""
    expires = []

    class Counting(RecordingRequest):
        def expire_soon(self) -> None:
            expires.append(self)

    request = Counting()
    poll(session, request)
    session.close()
    assert next_payload(request) == ["1"]
    answered(request)
    assert expires == [request]
