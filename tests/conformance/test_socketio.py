"""The official Socket.IO suite by its own titles, but for what it shares with that of Engine.IO.

https://github.com/socketio/socket.io/blob/main/docs/socket.io-protocol/v5-test-suite
"""

from __future__ import annotations

import json

import pytest

from tests.conformance.serve import JOIN_TIMEOUT

pytestmark = pytest.mark.asyncio(loop_scope="module")

ONE = '{"_placeholder":true,"num":0}'
OTHER = '{"_placeholder":true,"num":1}'


class TestConnect:
    @pytest.mark.parametrize(
        ("head", "payload"),
        [
            pytest.param("", "", id="the main namespace"),
            pytest.param("", '{"token":"123"}', id="the main namespace with a payload"),
            pytest.param("/custom,", "", id="a custom namespace"),
            pytest.param("/custom,", '{"token":"abc"}', id="a custom namespace with a payload"),
        ],
    )
    async def test_should_allow_connection_to(self, gateway, head, payload):
        async with gateway.streaming() as stream:
            await stream.send(f"40{head}{payload}")
            answer = str(await stream.receive())
            assert answer.startswith(f"40{head}")
            assert list(json.loads(answer.removeprefix(f"40{head}"))) == ["sid"]
            assert await stream.receive() == f'42{head}["auth",{payload or "{}"}]'

    async def test_should_disallow_connection_to_an_unknown_namespace(self, gateway):
        async with gateway.streaming() as stream:
            await stream.send("40/random")
            assert await stream.receive() == '44/random,{"message":"Invalid namespace"}'

    async def test_should_disallow_connection_with_an_invalid_handshake(self, gateway):
        async with gateway.streaming() as stream:
            await stream.send("4abc")
            assert await stream.receive() is None

    @pytest.mark.parametrize("join_timeout", [JOIN_TIMEOUT], indirect=True, scope="module")
    async def test_should_close_the_connection_if_no_handshake_is_received(self, gateway):
        async with gateway.streaming() as stream:
            assert await stream.receive() is None


class TestDisconnect:
    async def test_should_connect_then_disconnect_from_a_custom_namespace(self, gateway):
        async with gateway.connected() as stream:
            await stream.send("40/custom")
            assert str(await stream.receive()).startswith("40/custom,")
            assert await stream.receive() == '42/custom,["auth",{}]'
            await stream.send("41/custom", '42["message","message to main namespace"]')
            assert await stream.receive() == '42["message-back","message to main namespace"]'


class TestMessage:
    async def test_should_send_a_plain_text_packet(self, gateway):
        async with gateway.connected() as stream:
            await stream.send('42["message",1,"2",{"3":[true]}]')
            assert await stream.receive() == '42["message-back",1,"2",{"3":[true]}]'

    async def test_should_send_a_packet_with_binary_attachments(self, gateway):
        async with gateway.connected() as stream:
            await stream.send(f'452-["message",{ONE},{OTHER}]', b"\1\2\3", b"\4\5\6")
            assert await stream.receive() == f'452-["message-back",{ONE},{OTHER}]'
            assert [await stream.receive() for _ in range(2)] == [b"\1\2\3", b"\4\5\6"]

    async def test_should_send_a_plain_text_packet_with_an_ack(self, gateway):
        async with gateway.connected() as stream:
            await stream.send('42456["message-with-ack",1,"2",{"3":[false]}]')
            assert await stream.receive() == '43456[1,"2",{"3":[false]}]'

    async def test_should_send_a_packet_with_binary_attachments_and_an_ack(self, gateway):
        async with gateway.connected() as stream:
            await stream.send(f'452-789["message-with-ack",{ONE},{OTHER}]', b"\1\2\3", b"\4\5\6")
            assert await stream.receive() == f"462-789[{ONE},{OTHER}]"
            assert [await stream.receive() for _ in range(2)] == [b"\1\2\3", b"\4\5\6"]

    @pytest.mark.parametrize(
        "packet",
        [
            pytest.param("4abc", id="unknown packet type"),
            pytest.param("42{}", id="invalid payload format"),
            pytest.param('42abc["message-with-ack",1,"2",{"3":[false]}]', id="invalid ack id"),
        ],
    )
    async def test_should_close_the_connection_upon_invalid_format(self, gateway, packet):
        async with gateway.connected() as stream:
            await stream.send(packet)
            assert await stream.receive() is None
