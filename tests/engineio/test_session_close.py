"""The session by itself: its requests, and how it ends."""

from __future__ import annotations

import pytest

from gateway.engineio.session import Session
from tests.engineio.echo import say
from tests.engineio.recording import (
    RecordingHost,
    RecordingRequest,
    RecordingWebSocket,
    answer,
    next_payload,
    poll,
    polling,
    take,
)


class TestPolls:
    def test_second_poll_is_refused_and_ends_the_session(
        self, host: RecordingHost, session: Session
    ) -> None:
        first, second = poll(session), poll(session)
        assert answer(session, second) is None
        assert answer(session, first) == ["1"]
        assert host.ends == ["transport error"]

    def test_poll_that_goes_away_ends_the_session(
        self, host: RecordingHost, session: Session
    ) -> None:
        session.lost(poll(session), "transport error")
        assert host.ends == ["transport error"]

    def test_poll_that_goes_away_while_it_is_answered_ends_the_session(
        self, host: RecordingHost, session: Session
    ) -> None:
        request = poll(session)
        say(session, "lost")
        assert next_payload(request) == ["4lost"]
        session.lost(request, "transport error")
        assert host.ends == ["transport error"]

    def test_poll_that_was_answered_may_go_away(
        self, host: RecordingHost, session: Session
    ) -> None:
        request = poll(session)
        say(session, "x")
        answer(session, request)
        session.lost(request, "transport error")
        assert host.ends == []

    def test_answer_being_written_is_hurried_by_the_end(self, session: Session) -> None:
        request = poll(session)
        say(session, "x")
        next_payload(request)
        session.end("ping timeout")
        assert request.expires

    def test_second_post_is_refused_and_ends_the_session(
        self, host: RecordingHost, session: Session
    ) -> None:
        first = RecordingRequest()
        assert polling(session).post(first)
        assert not polling(session).post(RecordingRequest())
        assert first.expires
        assert host.ends == ["transport error"]

    def test_post_may_follow_a_post(self, session: Session) -> None:
        for _ in range(2):
            assert polling(session).post(RecordingRequest())
            polling(session).posted()


class TestClose:
    def test_close_by_the_client_ends_its_poll_with_noop(
        self, host: RecordingHost, session: Session
    ) -> None:
        request = poll(session)
        session.receive("1")
        assert answer(session, request) == ["6"]
        assert host.ends == ["client disconnect"]

    def test_close_by_the_client_closes_its_websocket(
        self, host: RecordingHost, streaming: Session, websocket: RecordingWebSocket
    ) -> None:
        streaming.receive("1")
        assert websocket.closed
        assert websocket.sent == []
        assert host.ends == ["client disconnect"]

    def test_close_by_the_server_waits_for_a_poll(
        self, host: RecordingHost, session: Session
    ) -> None:
        say(session, "last")
        session.close()
        say(session, "too late")
        assert host.ends == ["server disconnect"]
        assert host.forgotten == []
        assert take(session) == ["4last", "1"]
        assert host.forgotten == [session]
        assert host.ends == ["server disconnect"]

    def test_close_apart_from_the_last_packets_waits_for_two_polls(
        self, host: RecordingHost, session: Session
    ) -> None:
        say(session, "last")
        session.close(apart=True)
        assert take(session) == ["4last"]
        assert host.forgotten == []
        assert take(session) == ["1"]
        assert host.forgotten == [session]
        assert host.ends == ["server disconnect"]

    def test_a_client_that_closes_too_is_not_waited_for(
        self, host: RecordingHost, session: Session
    ) -> None:
        session.close(apart=True)
        request = poll(session)
        session.receive("1")
        assert host.forgotten == [session]
        assert answer(session, request) == ["6"]
        assert host.ends == ["server disconnect"]
        assert host.armed is None

    def test_close_by_the_server_ends_the_poll_that_waits(
        self, host: RecordingHost, session: Session
    ) -> None:
        request = poll(session)
        session.close()
        assert answer(session, request) == ["1"]
        assert request.expires
        assert host.forgotten == [session]

    def test_close_by_the_server_does_not_wait_for_ever(
        self, host: RecordingHost, session: Session
    ) -> None:
        session.close()
        host.pass_time(19.999)
        session.close()
        assert host.forgotten == []
        host.pass_time(0.001)
        assert host.forgotten == [session]
        assert host.ends == ["server disconnect"]
        assert host.armed is None

    def test_close_by_the_server_closes_the_websocket(
        self, host: RecordingHost, streaming: Session, websocket: RecordingWebSocket
    ) -> None:
        streaming.close()
        assert websocket.closed
        assert host.ends == ["server disconnect"]

    @pytest.mark.parametrize("reason", ["transport close", "transport error"])
    def test_end_of_the_websocket_ends_the_session(
        self, host: RecordingHost, streaming: Session, websocket: RecordingWebSocket, reason: str
    ) -> None:
        streaming.lost(websocket, reason)
        assert host.ends == [reason]
        assert host.forgotten == [streaming]

    def test_session_ends_once(
        self, host: RecordingHost, streaming: Session, websocket: RecordingWebSocket
    ) -> None:
        streaming.end("ping timeout")
        streaming.end("transport error")
        streaming.close()
        streaming.lost(websocket, "transport close")
        assert host.ends == ["ping timeout"]
        assert host.forgotten == [streaming]

    def test_body_that_is_still_read_is_given_up(self, session: Session) -> None:
        post = RecordingRequest()
        polling(session).post(post)
        session.end("ping timeout")
        assert post.expires
