"""The session by itself: from polling to a WebSocket."""

from __future__ import annotations

import pytest

from gateway.engineio.packet import Packet
from gateway.engineio.session import Session, State
from tests.engineio.echo import say
from tests.engineio.recording import RecordingHost, RecordingWebSocket, answer, poll, take


class TestUpgrade:
    @pytest.fixture
    def upgrading(self, session: Session, websocket: RecordingWebSocket) -> Session:
        session.open(websocket)
        return session

    @pytest.fixture
    def probed(self, upgrading: Session, websocket: RecordingWebSocket) -> Session:
        upgrading.receive_on(websocket, "2probe")
        assert websocket.sent == ["3probe"]
        websocket.sent.clear()
        return upgrading

    def test_session_moves_to_the_websocket(
        self, host: RecordingHost, probed: Session, websocket: RecordingWebSocket
    ) -> None:
        assert probed.transport == "polling"
        probed.receive_on(websocket, "5")
        assert probed.transport == "websocket"
        probed.receive_on(websocket, "4hello")
        say(probed, "hello")
        assert host.messages == ["hello"]
        assert websocket.sent == ["4hello"]

    def test_websocket_takes_first_what_no_poll_took(
        self, probed: Session, websocket: RecordingWebSocket
    ) -> None:
        say(probed, "a")
        say(probed, b"b")
        assert websocket.sent == []
        probed.receive_on(websocket, "5")
        say(probed, "c")
        assert websocket.sent == ["4a", b"b", "4c"]

    def test_poll_goes_on_before_the_probe(self, host: RecordingHost, upgrading: Session) -> None:
        request = poll(upgrading)
        host.pass_time(2)
        assert not request.woken
        say(upgrading, "x")
        assert answer(upgrading, request) == ["4x"]

    def test_probe_ends_the_poll_that_waits_with_noop(
        self, upgrading: Session, websocket: RecordingWebSocket
    ) -> None:
        request = poll(upgrading)
        upgrading.receive_on(websocket, "2probe")
        assert answer(upgrading, request) == ["6"]

    def test_noop_never_reaches_the_websocket(
        self, upgrading: Session, websocket: RecordingWebSocket
    ) -> None:
        request = poll(upgrading)
        upgrading.receive_on(websocket, "2probe")
        upgrading.receive_on(websocket, "5")
        assert answer(upgrading, request) is None
        assert websocket.sent == ["3probe"]

    def test_polls_during_an_upgrade_are_ended_ever_more_slowly(
        self, host: RecordingHost, probed: Session
    ) -> None:
        for held in (0.1, 1.0, 1.0):
            request = poll(probed)
            host.pass_time(held - 0.001)
            assert not request.woken
            host.pass_time(0.001)
            assert answer(probed, request) == ["6"]

    def test_poll_during_an_upgrade_takes_packets_at_once(self, probed: Session) -> None:
        request = poll(probed)
        say(probed, "x")
        assert answer(probed, request) == ["4x"]

    def test_poll_that_is_held_when_the_upgrade_completes_is_refused(
        self, probed: Session, websocket: RecordingWebSocket
    ) -> None:
        request = poll(probed)
        probed.receive_on(websocket, "5")
        assert answer(probed, request) is None
        probed.lost(request, "transport error")
        assert probed.state is State.OPEN

    @pytest.mark.parametrize("packet", ["5", "4hello", "2", "3", "abc", "", b"probe"])
    def test_websocket_that_does_not_begin_with_the_probe_is_closed(
        self, host: RecordingHost, upgrading: Session, websocket: RecordingWebSocket, packet: Packet
    ) -> None:
        upgrading.receive_on(websocket, packet)
        assert websocket.closed
        assert host.messages == host.ends == []
        say(upgrading, "still here")
        assert take(upgrading) == ["4still here"]

    @pytest.mark.parametrize("after_probe", [False, True])
    def test_websocket_that_dies_leaves_the_session_on_polling(
        self,
        host: RecordingHost,
        upgrading: Session,
        websocket: RecordingWebSocket,
        after_probe: bool,
    ) -> None:
        if after_probe:
            upgrading.receive_on(websocket, "2probe")
        upgrading.lost(websocket, "transport close")
        assert host.ends == []
        request = poll(upgrading)
        host.pass_time(2)
        assert not request.woken
        say(upgrading, "x")
        assert answer(upgrading, request) == ["4x"]

    def test_upgrade_may_be_tried_again(
        self, upgrading: Session, websocket: RecordingWebSocket
    ) -> None:
        upgrading.lost(websocket, "transport close")
        another = RecordingWebSocket()
        upgrading.open(another)
        upgrading.receive_on(another, "2probe")
        upgrading.receive_on(another, "5")
        assert upgrading.transport == "websocket"

    @pytest.mark.parametrize("after_probe", [False, True])
    def test_upgrade_has_ten_seconds(
        self,
        host: RecordingHost,
        upgrading: Session,
        websocket: RecordingWebSocket,
        after_probe: bool,
    ) -> None:
        if after_probe:
            upgrading.receive_on(websocket, "2probe")
        host.pass_time(9.999)
        assert not websocket.closed
        host.pass_time(0.001)
        assert websocket.closed
        assert upgrading.transport == "polling"
        assert host.ends == []

    def test_second_websocket_is_closed_and_the_first_goes_on(
        self, probed: Session, websocket: RecordingWebSocket
    ) -> None:
        second = RecordingWebSocket()
        probed.open(second)
        assert second.closed
        probed.receive_on(second, "5")
        probed.lost(second, "transport close")
        assert probed.transport == "polling"
        probed.receive_on(websocket, "5")
        third = RecordingWebSocket()
        probed.open(third)
        assert third.closed
        assert probed.transport == "websocket"
        assert not websocket.closed

    def test_end_of_the_session_closes_the_websocket_that_was_tried(
        self, probed: Session, websocket: RecordingWebSocket
    ) -> None:
        probed.end("ping timeout")
        assert websocket.closed

    def test_close_during_an_upgrade_reaches_the_client_on_the_websocket(
        self, host: RecordingHost, probed: Session, websocket: RecordingWebSocket
    ) -> None:
        say(probed, "last")
        probed.close()
        assert not websocket.closed
        probed.receive_on(websocket, "5")
        assert websocket.sent == ["4last"]
        assert websocket.closed
        assert host.ends == ["server disconnect"]
        assert host.armed is None

    def test_heartbeat_goes_on_through_an_upgrade(
        self, host: RecordingHost, probed: Session, websocket: RecordingWebSocket
    ) -> None:
        probed.receive_on(websocket, "5")
        host.pass_time(25)
        assert websocket.sent == ["2"]
