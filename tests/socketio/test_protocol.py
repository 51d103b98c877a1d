"""Socket.IO protocol 5: joining a namespace and leaving it, over a real connection.

https://github.com/socketio/socket.io/blob/main/docs/socket.io-protocol/v5-current.md
Every sentence of it that binds a server holds on both transports, at short pings and at long ones.
"""

from __future__ import annotations

import pytest

from tests.socketio.protocol_gateway import CONFIG, ONE, PLUGIN, sid

__all__ = ["CONFIG", "PLUGIN"]

pytestmark = pytest.mark.asyncio(loop_scope="module")


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
    async def test_what_crosses_the_servers_disconnect_is_no_violation(self, joined, packet):
        await joined.send('42["kick"]', *([packet, b""] if "-" in packet else [packet]))
        assert await joined.receive() == "41"
        assert sid(await joined.join())

    @pytest.mark.parametrize("packet", ["41{}", "41[]", "41null", '41"bye"'])
    async def test_disconnect_has_no_payload(self, joined, packet):
        await joined.send(packet)
        assert await joined.receive() is None
