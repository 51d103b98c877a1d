"""What plugins do to sockets, wherever these are: complete members and their clients."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path

import pytest
import pytest_asyncio

from gateway import Reject, UsageError
from gateway.cluster.bus import Channel, Kind
from gateway.cluster.peer import Frame
from gateway.testing import TestClient
from tests.cluster.gateways import GatewayMember, gateways
from tests.deadline import until
from tests.gateway_files import write
from tests.runtime.doing import DO, heard

CONFIG = """
namespaces:
  /:
    connection_middleware: [plugin.chain]
    routes: {do: plugin.do, cluster: plugin.told}
  /other:
    routes: {do: plugin.do}
"""

PLUGIN = (
    DO
    + """
async def chain(ctx, next):
    ctx.socket.data["name"] = ctx.socket.handshake.auth.get("name")
    ctx.socket.data["thing"] = object()
    await ctx.socket.join(ctx.socket.handshake.auth.get("rooms", []))
    await next()

async def told(ctx, event: str, *args):
    await ctx.namespace.to("all-" + ctx.gateway.member.tag).emit("told", event, *args)
"""
)


@pytest_asyncio.fixture
async def three(tmp_path: Path) -> AsyncIterator[list[GatewayMember]]:
    async with gateways(write(tmp_path, CONFIG, plugin=PLUGIN), 3) as members:
        yield members


async def connect(member: GatewayMember, name: str, *rooms: str) -> TestClient:
    return await member.connect(auth={"name": name, "rooms": list(rooms)})


async def settled(*members: GatewayMember) -> None:
    """Wait until the members have handled what each has sent: frames come in order."""
    for member in members:
        await member.gateway.of("/").count()


async def test_an_emit_reaches_the_sockets_of_all_members_once(three):
    one, two, last = three
    ada, eve = await connect(one, "ada", "red"), await connect(two, "eve", "red", "blue")
    tom, none = await connect(last, "tom", "blue"), await connect(last, "none")
    await ada.call("do", "await ctx.namespace.to('red', 'blue').emit('hi', 1, b'x')")
    for client in (ada, eve, tom):
        event = await client.receive("hi")
        assert event.args == [1, b"x"]
    await ada.call("do", "await ctx.namespace.except_('blue').emit('only')")
    await settled(one)
    assert [await heard(each) for each in (ada, eve, tom, none)] == [["only"], [], [], ["only"]]
    await ada.call("do", "await ctx.socket.broadcast.emit('others')")
    await settled(one)
    assert [await heard(each) for each in (ada, eve)] == [[], ["others"]]


async def test_what_cannot_be_sent_is_raised_and_told_to_nobody(three):
    one, two, _ = three
    eve = await connect(two, "eve")
    target = one.gateway.of("/")
    for wrong in (object(), float("nan"), 2**70):
        with pytest.raises((TypeError, ValueError)):
            await target.emit("hi", wrong)
    with pytest.raises(UsageError):
        await target.emit("connect")
    await settled(one)
    assert await heard(eve) == []


async def test_values_arrive_as_they_do_here(three):
    one, two, _ = three
    ada, eve = await connect(one, "ada"), await connect(two, "eve")
    code = """
    import datetime, uuid, dataclasses
    zone = datetime.timezone(datetime.timedelta(hours=2))
    times = [datetime.datetime(2026, 1, 2, 3, 4, 5, 600, zone), datetime.date(2026, 1, 2)]
    await ctx.namespace.emit("hi", times, uuid.UUID(int=7), (1, None), {"a": 2**63}, "\\xd6\\xff")
    """.strip()
    await ada.call("do", code)
    assert (await ada.receive("hi")).args == (await eve.receive("hi")).args


async def test_an_emit_to_one_socket_goes_to_its_member_only(three):
    one, two, last = three
    eve = await connect(two, "eve")
    arrived: list[Kind] = []
    receive = last.bus.receive

    def noted(channel: Channel, message: bytes) -> None:
        arrived.append(channel.kind)
        receive(channel, message)

    last.bus.receive = noted
    await one.gateway.of("/").to(eve.id).emit("hi")
    assert (await eve.receive("hi")).args == []
    await settled(one)
    assert Kind.BROADCAST not in arrived
    assert Kind.REQUEST in arrived
    assert one.bus.counts.missed == two.bus.counts.missed == 0


async def test_a_member_encodes_nothing_for_a_room_in_which_nobody_is(three, monkeypatch):
    one, two, last = three
    ada, eve = await connect(one, "ada"), await connect(two, "eve", "red")
    encodes: list[str] = []
    for member in (two, last):
        event = member._server.hub.event

        def encode(*args, event=event, tag=member.mesh.tag):
            encodes.append(tag)
            return event(*args)

        monkeypatch.setattr(member._server.hub, "event", encode)
    await ada.call("do", "await ctx.namespace.to('red', 'blue').emit('hi')")
    assert (await eve.receive("hi")).args == []
    await settled(one)
    assert encodes == [two.mesh.tag]


async def test_a_confirmed_emit_tells_how_many_each_member_has_sent_it_to(three):
    one, two, last = three
    for member, count in ((one, 1), (two, 2)):
        for _ in range(count):
            await connect(member, "ada")
    found = await one.gateway.of("/").emit("hi", confirm=True)
    assert found.recipients == {"tag-1": 1, "tag-2": 2, "tag-3": 0}
    assert found.missing == ()
    last.mesh.on(Frame.BUS, lambda peer, payload: None)  # it hangs
    found = await one.gateway.of("/").emit("hi", confirm=True, timeout=2)
    assert (found.recipients, found.missing) == ({"tag-1": 1, "tag-2": 2}, ("tag-3",))
    assert one.emitter.requests.unanswered == 1
    assert len(one.emitter.requests) == 0


async def test_a_member_that_is_gone_is_waited_for_no_longer(three):
    one, _, last = three
    last.mesh.on(Frame.BUS, lambda peer, payload: None)
    asking = asyncio.create_task(one.gateway.of("/").emit("hi", confirm=True, timeout=1000))
    await until(lambda: len(one.emitter.requests))
    last.mesh.close()
    found = await asking
    assert found.missing == ("tag-3",)
    assert "tag-3" not in one.bus.members


async def test_a_call_gathers_one_answer_of_each_socket(three):
    one, two, last = three
    ada, eve, tom = [await connect(each, "x") for each in three]
    asking = asyncio.create_task(one.gateway.of("/").call("who", timeout=1000))
    for name, client in (("ada", ada), ("eve", eve)):
        await client.answer(await client.receive("who"), name)
    await tom.receive("who")
    await tom.disconnect()
    found = await asking
    assert found.answers == {ada.id: ["ada"], eve.id: ["eve"]}
    assert (found.missing, found.missing_members) == ((tom.id,), ())
    last.mesh.on(Frame.BUS, lambda peer, payload: None)
    found = await two.gateway.of("/").to("nobody").call("who", timeout=0.01)
    assert (found.answers, found.missing, found.missing_members) == ({}, (), ("tag-3",))


async def test_joining_and_leaving_are_done_when_they_return(three):
    one, two, _ = three
    eve = await connect(two, "eve", "red")
    target = one.gateway.of("/").to("red")
    await target.join("green", "blue")
    [socket] = two._server.hub.rooms
    assert socket.socket.rooms == {eve.id, "red", "green", "blue"}
    await target.leave("green")
    assert socket.socket.rooms == {eve.id, "red", "blue"}
    await target.disconnect_sockets()
    assert len(two._server.hub.rooms) == 0
    await eve.wait_disconnected()


async def test_a_room_cannot_have_the_name_of_a_socket_of_another_member(three):
    one, two, _ = three
    ada, eve = await connect(one, "ada"), await connect(two, "eve")
    [answer] = await ada.call("do", f"await ctx.socket.join({eve.id!r})")
    assert answer["error"]["code"] == "forbidden_room"
    with pytest.raises(Reject):
        await one.gateway.of("/").join(eve.id)


async def test_sockets_of_other_members_are_views_that_work_by_id(three):
    one, two, _ = three
    ada, eve = await connect(one, "ada"), await connect(two, "eve", "red")
    found = await one.gateway.of("/").sockets()
    assert found.missing == ()
    here, there = found
    assert (here.id, there.id) == (ada.id, eve.id)
    assert there.data == {"name": "eve"}  # without what cannot be sent
    assert there.rooms == {eve.id, "red"}
    assert there.namespace == "/"
    with pytest.raises(TypeError):
        there.data["name"] = "tom"
    await there.emit("hi", 7)
    assert (await eve.receive("hi")).args == [7]
    asking = asyncio.create_task(there.call("who", timeout=1000))
    await eve.answer(await eve.receive("who"), "me")
    assert await asking == ["me"]
    await there.join("blue")
    assert await one.gateway.of("/").to("blue").count() == 1
    with pytest.raises(UsageError):
        await there.drained()
    await there.disconnect()
    await eve.wait_disconnected()
    with pytest.raises(ConnectionError):
        await there.call("who")


async def test_many_sockets_are_told_in_several_answers(three, monkeypatch):
    monkeypatch.setattr("gateway.cluster.answering.PAGE", 2)
    one, two, _ = three
    clients = [await connect(two, "x") for _ in range(5)]
    found = await one.gateway.of("/").sockets()
    assert [each.id for each in found] == [each.id for each in clients]
    assert await one.gateway.of("/").count() == 5
    assert await one.gateway.of("/other").sockets() == []


async def test_a_published_event_runs_the_cluster_routes_of_all(three):
    clients = [await connect(each, "x", f"all-{each.mesh.tag}") for each in three]
    await clients[0].call("do", "await ctx.gateway.publish('news', {'a': b'x'})")
    for client in clients:
        assert (await client.receive("told")).args == ["news", {"a": b"x"}]
    with pytest.raises(TypeError):
        await three[0].gateway.publish("news", object())


async def test_what_cannot_be_decoded_is_counted_and_dropped(three):
    one, two, _ = three
    eve = await connect(two, "eve")
    wrong = [
        b"",
        b"{",
        b"\xc1",
        b"\x93\x00\x00\x00",
        b"\x91" * 2000,
        b'{"type":77}',
        b"\xd4\x05\x00",
    ]
    for kind in Kind:
        for message in wrong:
            one.bus.publish(Channel(kind, "/"), message)
    one.bus.publish(
        Channel(Kind.BROADCAST, "/"),
        b"\x94\xa1x\x82\xa4type\x02\xa4data\x91\xa7connect\x80\x81\xa1n\x01",
    )
    await one.gateway.of("/").emit("hi")
    await eve.receive("hi")
    assert two.bus.counts.undecodable == len(Kind) * len(wrong) + 1
    assert one.gateway.member.number == 1


async def test_a_message_that_was_lost_is_counted(three, monkeypatch):
    one, two, _ = three
    eve = await connect(two, "eve")
    await one.gateway.of("/").emit("first")
    monkeypatch.setattr(one.mesh.peers["tag-2"], "send", lambda *frame: False)
    for _ in range(7):
        await one.gateway.of("/").emit("lost")
    monkeypatch.undo()
    await one.gateway.of("/").emit("last")
    assert [(await eve.receive()).name for _ in range(2)] == ["first", "last"]
    assert two.bus.counts.missed == 7
    assert dict(one.bus.counts.unpublished) == {"full": 7}
