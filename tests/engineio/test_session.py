"""The session by itself: the clock is set by hand, nothing is sent anywhere."""

from __future__ import annotations

import json

import pytest

from gateway.engineio.frames import Frames
from gateway.engineio.packet import Packet, PacketError
from gateway.engineio.session import Session
from gateway.engineio.settings import Settings
from tests.engineio.echo import say
from tests.engineio.recording import RecordingHost, RecordingWebSocket, answer, poll, take


class TestHandshake:
    @pytest.mark.parametrize(
        ("settings", "facts"),
        [
            (Settings(), '"upgrades":["websocket"],"pingInterval":25000,"pingTimeout":20000'),
            (Settings(0.3, 0.2), '"upgrades":["websocket"],"pingInterval":300,"pingTimeout":200'),
            (Settings(1.5, 0.0005), '"upgrades":["websocket"],"pingInterval":1500,"pingTimeout":0'),
            (
                Settings(transports=("polling",)),
                '"upgrades":[],"pingInterval":25000,"pingTimeout":20000',
            ),
        ],
    )
    def test_first_poll_takes_the_open_packet(self, settings: Settings, facts: str) -> None:
        assert take(RecordingHost(settings).open()) == [
            f'0{{"sid":"id",{facts},"maxPayload":1000000}}'
        ]

    def test_websocket_has_nothing_to_upgrade_to(
        self, host: RecordingHost, websocket: RecordingWebSocket
    ) -> None:
        host.open("websocket").open(websocket)
        (packet,) = websocket.sent
        assert isinstance(packet, str)
        assert json.loads(packet[1:])["upgrades"] == []

    def test_what_is_sent_before_it_follows_the_open_packet(self, host: RecordingHost) -> None:
        session = Session("id", "polling", host)
        say(session, "early")
        assert session.accept(host)
        packets = take(session)
        assert packets is not None
        assert packets[1:] == ["4early"]

    def test_session_that_ends_before_it_is_nobodys_business(self, host: RecordingHost) -> None:
        session = Session("id", "polling", host)
        session.close()
        assert not session.accept(host)
        assert host.forgotten == [session]
        assert host.ends == []

    def test_websocket_that_opens_too_late_is_closed(
        self, host: RecordingHost, websocket: RecordingWebSocket
    ) -> None:
        session = host.open("websocket")
        session.end("transport close")
        session.open(websocket)
        assert websocket.closed
        assert websocket.sent == []


class TestMessages:
    @pytest.mark.parametrize(
        ("packet", "message"), [("4hello", "hello"), ("4", ""), (b"\x00\x04", b"\x00\x04")]
    )
    def test_message_reaches_the_host(
        self, host: RecordingHost, session: Session, packet: Packet, message: Packet
    ) -> None:
        assert session.receive(packet) is None
        assert host.messages == [message]

    def test_next_packet_waits_for_what_the_host_returns(
        self, host: RecordingHost, session: Session
    ) -> None:
        async def work() -> None: ...

        host.waiting = work()
        assert session.receive("4x") is host.waiting
        host.waiting.close()

    @pytest.mark.parametrize("packet", ["", "0", "2", "2probe", "5", "6", "7", "abc", "\u0664x"])
    def test_anything_else_is_no_packet(self, session: Session, packet: Packet) -> None:
        with pytest.raises(PacketError):
            session.receive(packet)

    def test_poll_takes_all_that_waits_in_order(self, session: Session) -> None:
        say(session, "a")
        say(session, b"b")
        session.send_many(Frames(["c", b"d"]))
        assert take(session) == ["4a", b"b", "4c", b"d"]

    def test_poll_that_waits_is_woken_and_takes_what_came_until_then(
        self, session: Session
    ) -> None:
        request = poll(session)
        assert not request.woken
        say(session, "a")
        say(session, "b")
        assert answer(session, request) == ["4a", "4b"]

    def test_websocket_is_sent_to_at_once(
        self, streaming: Session, websocket: RecordingWebSocket
    ) -> None:
        say(streaming, "a")
        say(streaming, b"b")
        streaming.send_many(Frames(["c", b"d"]))
        assert websocket.sent == ["4a", b"b", "4c", b"d"]

    def test_buffered_tells_what_the_client_has_yet_to_take(
        self, session: Session, streaming: Session
    ) -> None:
        say(session, "abc")
        say(session, b"de")
        assert session.buffered == 6
        take(session)
        assert session.buffered == 0
        assert streaming.buffered == RecordingWebSocket.buffered

    def test_nothing_is_received_or_sent_once_it_is_over(
        self, host: RecordingHost, streaming: Session, websocket: RecordingWebSocket
    ) -> None:
        streaming.end("transport close")
        say(streaming, "late")
        assert streaming.receive("4late") is None
        assert streaming.receive("abc") is None
        assert websocket.sent == []
        assert host.messages == []


class TestHeartbeat:
    def test_ping_is_sent_each_interval_after_a_pong(
        self, host: RecordingHost, streaming: Session, websocket: RecordingWebSocket
    ) -> None:
        for _ in range(3):
            host.pass_time(24.999)
            assert websocket.sent == []
            host.pass_time(0.001)
            assert websocket.sent == ["2"]
            streaming.receive("3")
            websocket.sent.clear()

    def test_missing_pong_ends_the_session_to_the_millisecond(
        self, host: RecordingHost, streaming: Session
    ) -> None:
        host.pass_time(44.999)
        assert host.ends == []
        host.pass_time(0.001)
        assert host.ends == ["ping timeout"]

    def test_ping_waits_for_a_poll(self, host: RecordingHost, session: Session) -> None:
        host.pass_time(25)
        assert take(session) == ["2"]

    def test_poll_that_waits_takes_the_ping(self, host: RecordingHost, session: Session) -> None:
        request = poll(session)
        host.pass_time(25)
        assert answer(session, request) == ["2"]

    def test_poll_that_waits_is_ended_by_the_timeout(
        self, host: RecordingHost, session: Session
    ) -> None:
        host.pass_time(25)
        take(session)
        request = poll(session)
        host.pass_time(20)
        assert host.forgotten == [session]
        assert answer(session, request) == ["1"]
        assert request.expires

    def test_messages_are_no_pong(self, host: RecordingHost, streaming: Session) -> None:
        host.pass_time(25)
        streaming.receive("4x")
        host.pass_time(20)
        assert host.ends == ["ping timeout"]

    def test_client_that_is_not_read_from_has_the_time_to_answer_afterwards(
        self, host: RecordingHost, streaming: Session, websocket: RecordingWebSocket
    ) -> None:
        """And it goes on being sent pings, which it waits for in turn."""
        host.pass_time(24)
        for _ in range(100):
            streaming.hold(1)
            host.pass_time(1)
        assert host.ends == []
        assert websocket.sent == ["2"] * 5
        host.pass_time(19)
        streaming.receive("3")
        assert host.ends == []
        host.pass_time(44.999)
        assert host.ends == []
        host.pass_time(0.001)
        assert host.ends == ["ping timeout"]

    def test_client_that_is_gone_while_it_is_not_read_from_is_noticed(
        self, host: RecordingHost, streaming: Session
    ) -> None:
        host.pass_time(25)
        streaming.hold(19)
        host.pass_time(39.999)
        assert host.ends == []
        host.pass_time(0.001)
        assert host.ends == ["ping timeout"]

    def test_pong_that_nobody_asked_for_is_refused(
        self, host: RecordingHost, streaming: Session
    ) -> None:
        with pytest.raises(PacketError, match="a pong without a ping"):
            streaming.receive("3")
        host.pass_time(25)
        assert streaming.receive("3") is None
        with pytest.raises(PacketError, match="a pong without a ping"):
            streaming.receive("3")

    def test_each_ping_may_be_answered(self, host: RecordingHost, streaming: Session) -> None:
        """A client whose pong waited behind throttled packets was sent another ping."""
        host.pass_time(25)
        streaming.hold(19)
        host.pass_time(20)
        for _ in range(2):
            assert streaming.receive("3") is None
        with pytest.raises(PacketError):
            streaming.receive("3")

    def test_late_ping_does_not_move_the_pong(
        self, host: RecordingHost, streaming: Session
    ) -> None:
        host.now = 30.0
        host.deadlines.run()
        host.pass_time(15)
        assert host.ends == ["ping timeout"]

    def test_ping_after_a_pause_of_the_machine_leaves_time_for_the_pong(
        self, host: RecordingHost, streaming: Session
    ) -> None:
        host.now = 1000.0
        host.deadlines.run()
        host.pass_time(9.9)
        assert host.ends == []
        host.pass_time(0.1)
        assert host.ends == ["ping timeout"]

    def test_sessions_do_not_disturb_each_other(self, host: RecordingHost) -> None:
        first = host.open("websocket")
        first.open(RecordingWebSocket())
        host.pass_time(10)
        second = host.open("websocket")
        second.open(RecordingWebSocket())
        host.pass_time(15)
        first.receive("3")
        host.pass_time(30)
        assert host.forgotten == [second]
        host.pass_time(15)
        assert host.forgotten == [second, first]

    def test_nothing_is_armed_when_no_session_is_left(
        self, host: RecordingHost, session: Session
    ) -> None:
        assert host.armed == 25
        session.end("transport close")
        assert host.armed is None
