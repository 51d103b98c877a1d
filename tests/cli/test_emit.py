from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from click.testing import CliRunner

from gateway.cli import main
from tests.daemon_in_loop import served
from tests.gateway_files import write

FAILED = 1
USAGE = 2


async def test_an_ack_is_printed_as_its_argument(sockgw: Any, url: str) -> None:
    ended = await sockgw("emit", url, "chat", "hello world!", "--ack")
    assert (ended.status, ended.out) == (0, '{"ok":true}\n')


async def test_notes_are_on_stderr(sockgw: Any, url: str) -> None:
    ended = await sockgw("emit", url, "chat", "--ack")
    assert ended.err.startswith("connected to / as ")
    assert ended.err.count("\n") == 1


@pytest.mark.parametrize(
    ("args", "printed"), [([], "null"), (["1"], "1"), (["1", "two", "[3]"], '[1,"two",[3]]')]
)
async def test_an_ack_is_null_a_value_or_an_array(
    sockgw: Any, url: str, args: list[str], printed: str
) -> None:
    ended = await sockgw("emit", url, "echo", *args, "--ack")
    assert (ended.status, ended.out) == (0, f"{printed}\n")


@pytest.fixture
async def gateway(tmp_path: Path) -> AsyncIterator[str]:
    """A gateway whose packet chain takes a while; gives its address."""
    config = """
        namespaces: {/: {packet_middleware: [door.slow], routes: {say: chat.say, no: chat.no}}}
    """
    chat = """
        from gateway import Reject

        async def say(ctx): ...
        async def no(ctx): raise Reject("full", "no room is left", {"rooms": 3})
    """
    door = """
        import asyncio

        async def slow(ctx, next):
            await asyncio.sleep(0)
            await next()
    """
    async with served(write(tmp_path, config, chat=chat, door=door)) as address:
        yield address


@pytest.mark.parametrize(
    ("event", "told"),
    [
        ("chta", "unknown_event: no route for event 'chta'"),
        ("no", 'full: no room is left {"rooms":3}'),
    ],
)
async def test_an_event_that_fails_is_told_without_being_asked(
    sockgw: Any, gateway: str, event: str, told: str
) -> None:
    for options in ([], ["--listen", "res"]):
        ended = await sockgw("emit", gateway, event, *options, "--timeout", "30")
        assert (ended.status, ended.out) == (FAILED, "")
        assert ended.err.splitlines()[1:] == [told]
    acked = await sockgw("emit", gateway, event, "--ack")
    assert acked.status == FAILED
    assert json.loads(acked.out)["error"]["code"] == told.partition(":")[0]


async def test_nothing_is_told_of_an_event_that_is_handled(sockgw: Any, gateway: str) -> None:
    ended = await sockgw("emit", gateway, "say")
    assert (ended.status, ended.out, ended.err.count("\n")) == (0, "", 1)


async def test_no_error_is_told_if_no_ack_is_wanted(sockgw: Any, gateway: str) -> None:
    ended = await sockgw("emit", gateway, "chta", "--no-ack")
    assert (ended.status, ended.out, ended.err.count("\n")) == (0, "", 1)
    listening = await sockgw("emit", gateway, "no", "--listen", "error")
    assert (listening.status, json.loads(listening.out)["event"]) == (0, "no")


async def test_a_server_that_sends_no_ack_is_not_waited_for(sockgw: Any, url: str) -> None:
    ended = await sockgw("emit", url, "hang", "--timeout", "0.4")
    assert (ended.status, ended.err.count("\n")) == (0, 1)


async def test_being_disconnected_for_it_is_no_failure(sockgw: Any, url: str) -> None:
    ended = await sockgw("emit", url, "kick")
    assert (ended.status, ended.err.count("\n")) == (0, 1)


@pytest.mark.parametrize("transport", ["websocket", "polling"])
async def test_an_event_without_ack_has_been_sent_when_the_command_ends(
    sockgw: Any, url: str, server: Any, transport: str
) -> None:
    ended = await sockgw("emit", url, "sum", "1", "2", "--transport", transport)
    assert (ended.status, ended.out) == (0, "")
    assert await server.received.get() == ("sum", 1, 2)


async def test_events_that_come_with_the_connection_are_heard(sockgw: Any, url: str) -> None:
    ended = await sockgw("emit", f"{url}/chat", "chat", "hi", "--listen", "res", "--count", "2")
    assert (ended.status, ended.out) == (0, '"auth!"\n"Hello Man!!"\n')


async def test_json_prints_whole_events_and_acks(sockgw: Any, url: str) -> None:
    ended = await sockgw("emit", f"{url}/chat", "chat", "--ack", "--listen", "res", "--json")
    event, ack = map(json.loads, ended.out.splitlines())
    assert event == {"event": "res", "args": ["auth!"]}
    assert ack.pop("ms") > 0
    assert ack == {"ack": [{"ok": True}]}


async def test_no_more_events_are_printed_than_asked_for(sockgw: Any, url: str) -> None:
    ended = await sockgw("emit", f"{url}/chat", "chat", "hi", "--ack", "--listen", "res")
    assert sorted(ended.out.splitlines()) == ['"auth!"', '{"ok":true}']


async def test_bytes_go_there_from_a_file_and_come_back_as_base64(
    sockgw: Any, url: str, tmp_path: Any
) -> None:
    file = tmp_path / "file"
    file.write_bytes(b"\x00\xff")
    ended = await sockgw("emit", url, "upload", f"@{file}", "--ack")
    assert (ended.status, ended.out) == (0, '{"$bytes":"AP8="}\n')


async def test_an_ack_that_is_an_error_fails(sockgw: Any, url: str) -> None:
    ended = await sockgw("emit", url, "echo", '{"error": {"code": "dropped"}}', "--ack")
    assert (ended.status, ended.out) == (FAILED, '{"error":{"code":"dropped"}}\n')


async def test_a_time_out_fails_and_tells_what_is_missing(sockgw: Any, url: str) -> None:
    options = ["--ack", "--listen", "res", "--listen", "tick", "--count", "3", "--timeout", "0.5"]
    ended = await sockgw("emit", f"{url}/chat", "hang", *options)
    assert (ended.status, ended.out) == (FAILED, '"auth!"\n')
    assert ended.err.splitlines()[1:] == [
        "time-out after 0.5 s; missing: the ack of hang and 2 more res or tick"
    ]


async def test_being_disconnected_fails_and_tells_what_is_missing(sockgw: Any, url: str) -> None:
    ended = await sockgw("emit", url, "kick", "--ack")
    assert ended.status == FAILED
    assert ended.err.splitlines()[1:] == [
        "disconnected: io server disconnect; missing: the ack of kick"
    ]


async def test_a_refusal_fails_with_its_message_and_data(sockgw: Any, url: str) -> None:
    ended = await sockgw("emit", url, "chat", "--namespace", "closed")
    assert (ended.status, ended.out, ended.err) == (
        FAILED,
        "",
        'connect_error: log in first {"code":"unauthorized"}\n',
    )


async def test_the_server_gets_namespace_auth_headers_and_query(
    sockgw: Any, url: str, server: Any
) -> None:
    ended = await sockgw(
        *("emit", f"{url}/?room=1", "echo", "--ack", "--namespace", "chat"),
        *("--auth", '{"token": "x"}', "--header", "X-One: 1", "--header", "X-Two:2:3"),
    )
    assert ended.err.startswith("connected to /chat as ")
    assert server.auth == {"token": "x"}
    assert server.environ["HTTP_X_ONE"] == "1"
    assert server.environ["HTTP_X_TWO"] == "2:3"
    assert server.environ["QUERY_STRING"].startswith("room=1&")


@pytest.mark.parametrize(
    ("args", "message"),
    [
        (
            ["ftp://host", "chat"],
            "Invalid value for 'URL': 'ftp://host' is not a server URL: write http://HOST:PORT",
        ),
        (
            ["host:x", "chat"],
            "Invalid value for 'URL': 'host:x' is not a server URL: write http://HOST:PORT",
        ),
        (["host/chat", "x", "--namespace", "a"], "the URL already names the namespace /chat"),
        (
            ["host", "x", "--auth", "[1]"],
            """Invalid value for '--auth': not a JSON object: write '{"token": "secret"}'""",
        ),
        (
            ["host", "x", "--header", "X-Name"],
            "Invalid value for '--header': 'X-Name' has no colon: write 'X-Name: value'",
        ),
        (["host", "x", "--count", "2"], "--count counts what --listen names: give both"),
        (["host", "connect"], "'connect' is reserved by Socket.IO and cannot be sent"),
        (["host", "x", "@nowhere"], "cannot read nowhere: No such file or directory"),
    ],
)
def test_a_call_that_cannot_work_is_a_usage_error(args: list[str], message: str) -> None:
    ended = CliRunner().invoke(main, ["emit", *args])
    assert ended.exit_code == USAGE
    assert ended.output.splitlines()[-1] == f"Error: {message}"


async def test_an_id_cannot_change_the_terminal(
    sockgw: Any, url: str, server: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    ids = iter(f"\x1b[31m{number}" for number in range(9))
    monkeypatch.setattr(server.sio.eio, "generate_id", lambda: next(ids))
    ended = await sockgw("emit", url, "echo", "1", "--ack")
    assert (ended.status, ended.out) == (0, "1\n")
    assert ended.err == "connected to / as \\u001b[31m1\n"
