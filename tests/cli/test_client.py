from __future__ import annotations

import re
import stat
from pathlib import Path
from typing import Any

import pytest

TIME = re.compile(r"^\d\d:\d\d:\d\d\.\d{3} ", re.MULTILINE)
TOOK = re.compile(r" \d+\.\d ms$", re.MULTILINE)
ID = re.compile(r"(?<=^connected to /chat as )\S+", re.MULTILINE)


def shown(out: str) -> list[str]:
    """What was shown, without what differs from run to run."""
    return ID.sub("ID", TIME.sub("", TOOK.sub("", out))).splitlines()


async def test_lines_of_a_pipe_are_sent_and_their_acks_awaited(sockgw: Any, url: str) -> None:
    ended = await sockgw("client", f"{url}/chat", stdin='chat hello\nsum 1 2\n\nsay {"a": 1}')
    assert (ended.status, ended.err) == (0, "")
    assert shown(ended.out)[0] == "connected to /chat as ID by websocket"
    assert sorted(shown(ended.out)[1:]) == sorted(
        [
            '<- res "auth!"',
            '-> chat "hello"',
            '<- res "Hello Man!!"',
            'ack chat {"ok":true}',
            "-> sum 1 2",
            "ack sum 1 2",
            '-> say {"a":1}',
            'ack say {"a":1}',
        ]
    )


async def test_every_line_has_its_time_and_every_ack_how_long_it_took(
    sockgw: Any, url: str
) -> None:
    ended = await sockgw("client", url, stdin="sum 1\n")
    lines = ended.out.splitlines()
    assert all(TIME.match(line) for line in lines)
    assert [bool(TOOK.search(line)) for line in lines] == [False, False, True]


async def test_an_exclamation_mark_sends_without_asking_for_an_ack(
    sockgw: Any, url: str, server: Any
) -> None:
    ended = await sockgw("client", url, stdin="!sum 1 2\n")
    assert ended.status == 0
    assert shown(ended.out)[1:] == ["-> sum 1 2"]
    assert await server.received.get() == ("sum", 1, 2)


async def test_exit_ends_before_the_lines_behind_it(sockgw: Any, url: str, server: Any) -> None:
    ended = await sockgw("client", url, stdin="help\nexit\nchat\n")
    assert ended.status == 0
    assert "  !EVENT [ARGS...]  send it without asking for an ack" in ended.out.splitlines()
    assert server.received.empty()


async def test_a_line_that_cannot_be_sent_is_told_and_the_others_are_sent(
    sockgw: Any, url: str
) -> None:
    ended = await sockgw("client", url, stdin='chat "x\nsum 1\n')
    assert ended.status == 1
    assert shown(ended.out)[1:] == [
        "not sent: a quotation mark is not closed",
        "-> sum 1",
        "ack sum 1",
    ]


async def test_an_ack_that_does_not_come_fails(sockgw: Any, url: str) -> None:
    ended = await sockgw("client", url, "--timeout", "0.5", stdin="hang\n")
    assert ended.status == 1
    assert shown(ended.out)[1:] == ["-> hang", "no ack of hang within 0.5 s"]


async def test_a_pipe_ends_with_the_socket(sockgw: Any, url: str) -> None:
    ended = await sockgw("client", url, stdin="kick\n")
    assert ended.status == 1
    assert shown(ended.out)[-1] == "no ack of kick: io server disconnect"


async def test_a_refusal_is_shown_with_its_data(sockgw: Any, url: str) -> None:
    ended = await sockgw("client", f"{url}/closed")
    assert (ended.status, ended.out, ended.err) == (
        1,
        "",
        'connect_error: log in first {"code":"unauthorized"}\n',
    )


async def test_a_conversation_in_a_terminal(terminal: Any, url: str, tmp_path: Path) -> None:
    client = await terminal("client", f"{url}/chat")
    await client.shows(' <- res "auth!"')
    await client.prompts()
    client.type("chat hello\r")
    await client.shows(' -> chat "hello"')
    await client.shows(' ack chat {"ok":true} ')
    await client.prompts()
    client.type("ch\t")
    await client.shows("at")
    client.type(" bye\r")
    await client.shows(' -> chat "bye"')
    await client.shows(" ack chat ")
    await client.prompts()
    client.type("\x04")
    assert await client.ended() == 0

    history = tmp_path / "sockgw" / "client_history"
    assert stat.S_IMODE(history.stat().st_mode) == 0o600
    assert stat.S_IMODE(history.parent.stat().st_mode) == 0o700
    assert re.findall(r"^\+(.*)$", history.read_text(), re.MULTILINE) == [
        "chat hello",
        "chat bye",
    ]


async def test_what_comes_does_not_garble_what_is_being_typed(
    terminal: Any, url: str, server: Any
) -> None:
    client = await terminal("client", f"{url}/chat")
    await client.prompts()
    client.type("chat he")
    await client.shows("chat he")
    await server.sio.emit("tick", 1, namespace="/chat")
    await client.shows(" <- tick 1")
    await client.shows("\n> chat he")  # written anew below
    client.type("llo\r")
    await client.shows(' -> chat "hello"')


async def test_control_c_ends_with_0(terminal: Any, url: str) -> None:
    client = await terminal("client", url)
    await client.prompts()
    client.type("half a line\x03")
    assert await client.ended() == 0


async def test_a_lost_connection_is_shown_and_comes_back(
    terminal: Any, server: Any, serve: Any
) -> None:
    async with serve(server.sio) as url:
        client = await terminal("client", f"{url}/chat", "--transport", "websocket")
        await client.prompts()
        port = int(url.rpartition(":")[2])
    await client.shows(" disconnected: transport close")
    await client.shows(" reconnecting in 1 s")
    client.type("chat lost\r")
    await client.shows(" not sent: not connected")
    async with serve(type(server)().sio, port):
        await client.shows(" connected to /chat as ")
        client.type("chat hello\r")
        await client.shows(' ack chat {"ok":true} ')


async def test_who_is_disconnected_by_the_server_does_not_come_back(
    terminal: Any, url: str
) -> None:
    client = await terminal("client", url)
    await client.prompts()
    client.type("kick\r")
    await client.shows(" no ack of kick: io server disconnect")
    await client.shows("disconnected: io server disconnect")
    assert await client.ended() == 1


async def test_no_connection_ends_a_terminal_too(terminal: Any, url: str) -> None:
    client = await terminal("client", f"{url}/closed")
    await client.shows('connect_error: log in first {"code":"unauthorized"}')
    assert await client.ended() == 1


@pytest.mark.parametrize(("environment", "coloured"), [({}, True), ({"NO_COLOR": "1"}, False)])
async def test_no_color_is_honoured(
    terminal: Any, url: str, environment: dict[str, str], coloured: bool
) -> None:
    client = await terminal("client", f"{url}/chat", **environment)
    await client.shows(' <- res "auth!"')
    assert (b"\x1b[32m<-\x1b[0m" in client.written) is coloured
