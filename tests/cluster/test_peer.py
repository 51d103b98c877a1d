"""Frames and connections between two members."""

from __future__ import annotations

import asyncio
import socket
import time

import pytest

from gateway.cluster.peer import MOST_PASSING, MOST_WAITING, TURN, Frame, Mesh, Peer
from tests.cluster.meshes import join
from tests.deadline import until


async def test_frames_arrive_whole_and_in_order() -> None:
    one, other = Mesh("one"), Mesh("other")
    found: list[bytes] = []
    other.on(Frame.BUS, lambda peer, payload: found.append(payload))
    await join(one, other)
    sent = [bytes([number % 256]) * (number * 37) for number in range(500)]
    for payload in sent:
        assert one.peers["other"].send(Frame.BUS, payload)
    await until(lambda: len(found) == len(sent))
    assert found == sent
    one.close()
    await until(lambda: not other.peers)


async def test_a_frame_larger_than_any_buffer_arrives() -> None:
    one, other = Mesh("one"), Mesh("other")
    found: list[bytes] = []
    other.on(Frame.REQUEST, lambda peer, payload: found.append(payload))
    await join(one, other)
    body = bytes(range(256)) * 20_000
    assert one.peers["other"].send(Frame.REQUEST, b"head", body)
    await until(lambda: bool(found))
    assert found == [b"head" + body]
    one.close()


async def test_a_peer_that_does_not_read_is_sent_no_more() -> None:
    one = Mesh("one")
    stream, unread = socket.socketpair()
    channel, unused = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer = await one.join("other", stream, channel)
    payload = bytes(2**20)
    sent = sum(peer.send(Frame.BUS, payload) for _ in range(100))
    assert sent * len(payload) <= MOST_WAITING + len(payload)
    assert not peer.send(Frame.BUS, b"")
    assert peer.send(Frame.SIGNAL, b"")
    unread.close()
    unused.close()
    await until(lambda: not one.peers)
    assert peer.waiting == 0
    assert not peer.send(Frame.BUS, b"")


async def test_a_connection_is_passed_with_what_goes_with_it() -> None:
    one, other = Mesh("one"), Mesh("other")
    found: list[tuple[Peer, socket.socket, bytes]] = []
    other.on_connection = lambda peer, sock, payload: found.append((peer, sock, payload))
    await join(one, other)
    near, far = socket.socketpair()
    assert one.peers["other"].pass_connection(far, b"and this")
    far.close()
    await until(lambda: bool(found))
    peer, sock, payload = found[0]
    assert (peer.tag, payload) == ("one", b"and this")
    assert not sock.get_inheritable(), "a program that a plugin starts does not get it"
    sock.sendall(b"hello")
    assert near.recv(5) == b"hello"
    for each in (near, sock):
        each.close()
    one.close()


async def test_the_end_of_a_member_is_told_after_the_last_of_its_frames() -> None:
    one, other = Mesh("one"), Mesh("other")
    found: list[int] = []
    lost: list[int] = []

    def handle(peer: Peer, payload: bytes) -> None:
        time.sleep(2 * TURN)  # so that each takes a turn of the loop
        found.append(payload[0])

    other.on(Frame.BUS, handle)
    other.on_lost.append(lambda peer: lost.append(len(found)))
    await join(one, other)
    for number in range(20):
        one.peers["other"].send(Frame.BUS, bytes([number]))
    one.close()
    await until(lambda: bool(lost))
    assert (found, lost) == ([*range(20)], [20])
    assert not other.peers


async def test_the_end_of_a_member_is_told_to_its_peers() -> None:
    one, other = Mesh("one"), Mesh("other")
    lost: list[str] = []
    other.on_lost.append(lambda peer: lost.append(peer.tag))
    await join(one, other)
    one.close()
    await until(lambda: bool(lost))
    assert lost == ["one"]
    assert not other.peers


async def test_connections_wait_for_a_peer_that_does_not_take_them() -> None:
    one = Mesh("one")
    stream, far_stream = socket.socketpair()
    channel, far = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    peer = await one.join("other", stream, channel)
    near, passed = socket.socketpair()
    count = 0
    while peer.pass_connection(passed, b"%d" % count):
        count += 1
    assert count > MOST_PASSING
    assert peer.is_full
    found: list[bytes] = []

    def take() -> None:
        data, descriptors, _, _ = socket.recv_fds(far, 100, 1)
        socket.close(descriptors[0])
        found.append(data)

    asyncio.get_running_loop().add_reader(far, take)
    await until(lambda: len(found) == count)
    assert found == [b"%d" % number for number in range(count)]
    assert not peer.is_full
    asyncio.get_running_loop().remove_reader(far)
    while peer.pass_connection(passed, b"never taken"):
        pass
    for each in (near, passed, far, far_stream):
        each.close()
    await until(lambda: not one.peers)
    assert peer.is_full


async def test_a_fault_in_one_frame_does_not_stop_the_next(
    caplog: pytest.LogCaptureFixture,
) -> None:
    one, other = Mesh("one"), Mesh("other")
    found: list[bytes] = []

    def handle(peer: Peer, payload: bytes) -> None:
        if payload == b"bad":
            raise RuntimeError("broken")
        found.append(payload)

    other.on(Frame.BUS, handle)
    await join(one, other)
    for payload in (b"bad", b"good"):
        one.peers["other"].send(Frame.BUS, payload)
    await until(lambda: bool(found))
    assert found == [b"good"]
    assert "a fault in the gateway itself" in caplog.text
    one.close()
    await until(lambda: not other.peers)
