"""Socket.IO protocol 5: every sentence of it that binds a server, over a real connection.

https://github.com/socketio/socket.io/blob/main/docs/socket.io-protocol/v5-current.md
Each holds on both transports, at short pings and at long ones.
"""

from __future__ import annotations

import json

import pytest

pytestmark = pytest.mark.asyncio(loop_scope="module")

CONFIG = """
namespaces:
  /:
    routes:
      nothing: plugin.nothing
      reply: plugin.reply
      back: plugin.back
      ask: plugin.ask
      tell-all: plugin.tell_all
      kick: plugin.kick
  /admin:
    connection_middleware: [plugin.greet]
    routes:
      reply: plugin.reply
      back: plugin.back
      ask: plugin.ask
  /closed:
    connection_middleware: [plugin.refuse]
"""

PLUGIN = """
from gateway import Reject

async def greet(ctx, next):
    await ctx.socket.emit("auth", dict(ctx.socket.handshake.auth))
    await next()

async def refuse(ctx, next):
    raise Reject("unauthorized", "Not authorized")

async def nothing(ctx):
    pass

async def reply(ctx):
    return tuple(ctx.args)

async def back(ctx):
    await ctx.socket.emit("back", *ctx.args)

async def ask(ctx):
    await ctx.socket.emit("answered", *await ctx.socket.call("question", *ctx.args))

async def tell_all(ctx):
    await ctx.namespace.emit("told", *ctx.args)

async def kick(ctx):
    await ctx.socket.disconnect()
"""

ONE = '{"_placeholder":true,"num":0}'
OTHER = '{"_placeholder":true,"num":1}'


def sid(packet: object, head: str = "40") -> str:
    """The id in a CONNECT packet, which has nothing but that in it."""
    assert isinstance(packet, str)
    assert packet.startswith(head)
    facts = json.loads(packet.removeprefix(head))
    assert list(facts) == ["sid"]
    assert isinstance(facts["sid"], str)
    return facts["sid"]


class TestConnection:
    """ "At the beginning of a Socket.IO session, the client MUST send a CONNECT packet" """

    async def test_connect_is_answered_with_connect_and_the_id(self, client):
        assert sid(await client.join())

    async def test_connect_to_a_namespace_is_answered_in_it(self, client):
        assert sid(await client.join("/admin"), "40/admin,")

    async def test_the_namespace_needs_no_comma_at_the_end_of_the_packet(self, client):
        await client.send("40/admin")
        assert sid(await client.receive(), "40/admin,")

    async def test_connect_may_carry_a_payload(self, client):
        assert sid(await client.join("/admin", '{"token":"123"}'), "40/admin,")
        assert await client.receive() == '42/admin,["auth",{"token":"123"}]'

    async def test_connect_needs_no_payload(self, client):
        await client.join("/admin")
        assert await client.receive() == '42/admin,["auth",{}]'

    async def test_a_connection_that_is_not_allowed_is_answered_with_connect_error(self, client):
        assert await client.join("/closed") == (
            '44/closed,{"message":"Not authorized","data":{"code":"unauthorized"}}'
        )

    async def test_an_unknown_namespace_is_answered_with_connect_error(self, client):
        assert await client.join("/random") == '44/random,{"message":"Invalid namespace"}'

    async def test_a_refusal_leaves_the_session_as_it_was(self, client):
        await client.join()
        await client.join("/closed")
        await client.join("/random")
        await client.send('421["reply"]')
        assert await client.receive() == "431[]"
        assert sid(await client.join("/admin"), "40/admin,")

    async def test_a_refused_client_may_try_again(self, client):
        assert await client.join("/closed") == await client.join("/closed")

    @pytest.mark.parametrize("packet", ['42["reply"]', "41", "431[]", '42/admin,["reply"]', "4abc"])
    async def test_anything_before_connect_closes_the_connection(self, client, packet):
        """ "... If the server does not receive a CONNECT packet first, then it MUST close the
        connection immediately." """
        await client.send(packet)
        assert await client.receive() is None

    async def test_no_namespace_is_joined_implicitly(self, client, opened):
        await client.join("/admin")
        await client.receive()
        async with opened() as other:
            await other.join()
            await other.send('42["tell-all"]')
            assert await other.receive() == '42["told"]'
        await client.send('42/admin,["back"]')
        assert await client.receive() == '42/admin,["back"]'
        await client.send('42["back"]')
        assert await client.receive() is None

    async def test_a_client_may_be_in_several_namespaces_at_once(self, client):
        """ "... with the same underlying WebSocket connection" """
        ids = {sid(await client.join()), sid(await client.join("/admin"), "40/admin,")}
        assert await client.receive() == '42/admin,["auth",{}]'
        await client.send('42["back",1]', '42/admin,["back",2]', '42["back",3]')
        assert [await client.receive() for _ in range(3)] == [
            '42["back",1]',
            '42/admin,["back",2]',
            '42["back",3]',
        ]
        assert len(ids) == 2

    async def test_the_id_is_not_that_of_the_engine(self, client):
        """ "... the ID of the Socket.IO connection will now be different from the ID of the
        underlying Engine.IO connection" """
        assert sid(await client.join()) != client.handshake["sid"]

    async def test_no_two_connections_have_the_same_id(self, client):
        ids = set()
        for _ in range(5):
            ids.add(sid(await client.join()))
            await client.send("41")
        assert len(ids) == 5


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
    async def test_an_answer_that_nobody_waits_for_is_no_offence(self, joined, packet):
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


class TestDisconnection:
    """ "At any time, one side can end the connection to a namespace by sending a DISCONNECT packet.
    No response is expected from the other side." """

    async def test_a_client_that_leaves_is_sent_nothing_more(self, joined, opened):
        await joined.join("/admin")
        await joined.receive()
        await joined.send("41")
        async with opened() as other:
            await other.join()
            await other.send('42["tell-all"]')
            assert await other.receive() == '42["told"]'
        await joined.send('42/admin,["back"]')
        assert await joined.receive() == '42/admin,["back"]'

    @pytest.mark.parametrize("packet", ["41/admin", "41/admin,"])
    async def test_the_connection_to_other_namespaces_stays(self, joined, packet):
        """ "The low-level connection MAY be kept alive if the client is connected to another
        namespace." """
        await joined.join("/admin")
        await joined.receive()
        await joined.send(packet, '42["back","to the main namespace"]')
        assert await joined.receive() == '42["back","to the main namespace"]'

    async def test_a_client_that_left_may_join_again(self, joined):
        await joined.send("41")
        assert sid(await joined.join())

    async def test_the_server_ends_the_connection_to_a_namespace(self, joined):
        await joined.join("/admin")
        await joined.receive()
        await joined.send('42["kick"]')
        assert await joined.receive() == "41"
        await joined.send('42/admin,["back"]')
        assert await joined.receive() == '42/admin,["back"]'

    @pytest.mark.parametrize("packet", ['42["back"]', "41", "431[]", f'451-["back",{ONE}]'])
    async def test_what_crosses_the_servers_disconnect_is_no_offence(self, joined, packet):
        await joined.send('42["kick"]', *([packet, b""] if "-" in packet else [packet]))
        assert await joined.receive() == "41"
        assert sid(await joined.join())

    @pytest.mark.parametrize("packet", ["41{}", "41[]", "41null", '41"bye"'])
    async def test_disconnect_has_no_payload(self, joined, packet):
        await joined.send(packet)
        assert await joined.receive() is None
