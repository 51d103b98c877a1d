"""Socket.IO protocol 5: events and their acks, over a real connection.

https://github.com/socketio/socket.io/blob/main/docs/socket.io-protocol/v5-current.md
Every sentence of it that binds a server holds on both transports, at short pings and at long ones.
"""

from __future__ import annotations

import pytest

from tests.socketio.protocol_gateway import CONFIG, ONE, OTHER, PLUGIN

__all__ = ["CONFIG", "PLUGIN"]

pytestmark = pytest.mark.asyncio(loop_scope="module")


class TestEvents:
    """ "Once the connection to a namespace is established, the client and the server can begin
    exchanging data" """

    @pytest.mark.parametrize("namespace", ["", "/admin,"])
    @pytest.mark.parametrize(
        "args",
        ['"foo"', '1,"2",{"3":[true]}', "[]", "null", '"é€🦄 \\\\ \\""', "-1.5,0.1"],
    )
    async def test_events_carry_any_json_both_ways(self, joined, namespace, args):
        if namespace:
            await joined.join("/admin")
            await joined.receive()
        await joined.send(f'42{namespace}["back",{args}]')
        assert await joined.receive() == f'42{namespace}["back",{args}]'

    async def test_an_event_needs_no_argument(self, joined):
        await joined.send('42["back"]')
        assert await joined.receive() == '42["back"]'

    async def test_events_carry_bytes_both_ways(self, joined):
        await joined.send(f'451-["back",{ONE}]', b"\1\2\3\4")
        assert [await joined.receive() for _ in range(2)] == [f'451-["back",{ONE}]', b"\1\2\3\4"]

    async def test_events_carry_several_attachments_in_a_namespace(self, joined):
        await joined.join("/admin")
        await joined.receive()
        packet = f'452-/admin,["back",{ONE},{{"a":[{OTHER}]}}]'
        await joined.send(packet, b"\1\2", b"")
        assert [await joined.receive() for _ in range(3)] == [packet, b"\1\2", b""]

    async def test_attachments_may_come_in_another_order_than_their_places(self, joined):
        await joined.send(f'452-["back",{OTHER},{ONE}]', b"\1", b"\2")
        assert [await joined.receive() for _ in range(3)] == [
            f'452-["back",{ONE},{OTHER}]',
            b"\2",
            b"\1",
        ]

    async def test_events_keep_their_order(self, joined):
        packets = [f'42["back",{number}]' for number in range(100)]
        await joined.send(*packets)
        assert [await joined.receive() for _ in packets] == packets

    @pytest.mark.parametrize(
        "payload", ["", "{}", "[]", "null", '"back"', "1", '{"0":"back"}', '["back"', "[{}]"]
    )
    @pytest.mark.parametrize("head", ["42", "421", "451-"])
    async def test_a_payload_that_is_no_filled_array_closes_the_connection(
        self, joined, head, payload
    ):
        """ "The payload is mandatory and MUST be a non-empty array. If that's not the case, then
        the receiver MUST close the connection." """
        await joined.send(head + payload)
        assert await joined.receive() is None


class TestAcks:
    """ "The receiver MUST respond with an ACK packet with the same event ID." """

    @pytest.mark.parametrize("id", [0, 12, 10**15 - 1])
    @pytest.mark.parametrize("namespace", ["", "/admin,"])
    async def test_an_event_with_an_id_is_acked_with_that_id(self, joined, namespace, id):
        if namespace:
            await joined.join("/admin")
            await joined.receive()
        await joined.send(f'42{namespace}{id}["reply","bar",{{"a":1}}]')
        assert await joined.receive() == f'43{namespace}{id}["bar",{{"a":1}}]'

    @pytest.mark.parametrize("event", ["nothing", "reply"])
    async def test_the_payload_of_an_ack_may_be_empty(self, joined, event):
        """ "The payload is mandatory and MUST be an array (possibly empty)." """
        await joined.send(f'4212["{event}"]')
        assert await joined.receive() == "4312[]"

    async def test_an_event_that_has_no_route_is_acked_too(self, joined):
        await joined.send('4212["unheard-of"]')
        assert str(await joined.receive()).startswith('4312[{"error":{"code":"unknown_event"')

    async def test_an_event_without_an_id_is_not_acked(self, joined):
        await joined.send('42["reply",1]', '422["reply",2]')
        assert await joined.receive() == "432[2]"

    async def test_an_event_with_bytes_is_acked(self, joined):
        await joined.send(f'451-14["nothing",{ONE}]', b"\1")
        assert await joined.receive() == "4314[]"

    async def test_an_ack_with_bytes_is_a_binary_ack(self, joined):
        await joined.send(f'452-789["reply",{ONE},{OTHER}]', b"\1\2\3", b"\4\5\6")
        assert [await joined.receive() for _ in range(3)] == [
            f"462-789[{ONE},{OTHER}]",
            b"\1\2\3",
            b"\4\5\6",
        ]

    @pytest.mark.parametrize("namespace", ["", "/admin,"])
    async def test_the_client_is_asked_and_answers(self, joined, namespace):
        if namespace:
            await joined.join("/admin")
            await joined.receive()
        await joined.send(f'42{namespace}["ask","foo"]')
        assert await joined.receive() == f'42{namespace}1["question","foo"]'
        await joined.send(f'43{namespace}1["bar",{{"a":null}}]')
        assert await joined.receive() == f'42{namespace}["answered","bar",{{"a":null}}]'

    async def test_the_client_is_asked_with_bytes_and_answers_with_bytes(self, joined):
        await joined.send(f'451-["ask",{ONE}]', b"\1")
        assert [await joined.receive() for _ in range(2)] == [f'451-1["question",{ONE}]', b"\1"]
        await joined.send(f'461-1["bar",{ONE}]', b"\2")
        assert [await joined.receive() for _ in range(2)] == [
            f'451-["answered","bar",{ONE}]',
            b"\2",
        ]

    async def test_answers_may_come_in_any_order(self, joined):
        await joined.send('42["ask","a"]', '42["ask","b"]')
        assert [await joined.receive() for _ in range(2)] == [
            '421["question","a"]',
            '422["question","b"]',
        ]
        await joined.send("432[2]", "431[1]")
        assert [await joined.receive() for _ in range(2)] == [
            '42["answered",2]',
            '42["answered",1]',
        ]

    @pytest.mark.parametrize("packet", ["430[]", "439[]", "431[]", '461-9[{"num":0}]'])
    async def test_an_answer_that_nobody_waits_for_is_no_violation(self, joined, packet):
        """Its question may have timed out."""
        await joined.send(*([packet, b""] if "-" in packet else [packet]), '421["reply"]')
        assert await joined.receive() == "431[]"

    @pytest.mark.parametrize("payload", ["", "{}", "null", '"bar"', "1", "["])
    @pytest.mark.parametrize("head", ["431", "461-1"])
    async def test_an_answer_that_is_no_array_closes_the_connection(self, joined, head, payload):
        await joined.send('42["ask"]')
        await joined.receive()
        await joined.send(head + payload)
        assert await joined.receive() is None
