from __future__ import annotations

import logging
from hashlib import sha256
from pathlib import Path
from typing import Any

import pytest

from gateway.testing import Refused
from tests.builtin.conftest import Fault, Guarded, use


def hashed(key: str) -> str:
    return sha256(key.encode()).hexdigest()


KEYS = {"ada": hashed("first"), "eve": hashed("second")}


@pytest.mark.parametrize(
    ("source", "shown"),
    [
        ("auth.api_key", {"auth": {"api_key": "second"}}),
        ("auth.key", {"auth": {"key": "second"}}),
        ("header.X-Api-Key", {"headers": {"X-API-Key": "second"}}),
        ("header.authorization", {"headers": {"Authorization": "bearer second"}}),
        ("query.key", {"query": "key=second"}),
    ],
)
async def test_a_key_lets_in_and_its_name_is_kept(
    guarded: Guarded, seen: dict[str, Any], source: str, shown: dict[str, Any]
) -> None:
    chain = [use("api_key", {"keys": KEYS, "source": source})]
    async with guarded(connection_middleware=chain, **seen) as gateway:
        client = await gateway.connect(**shown)
        assert await client.call("data") == [{"api_key": "eve", "user": "eve"}]


@pytest.mark.parametrize(
    "auth",
    [None, {}, {"api_key": ""}, {"api_key": "third"}, {"api_key": KEYS["ada"]}, {"api_key": 1}],
)
async def test_no_key_and_a_wrong_key_are_refused_alike(
    guarded: Guarded, auth: dict[str, Any] | None
) -> None:
    async with guarded(connection_middleware=[use("api_key", {"keys": KEYS})]) as gateway:
        with pytest.raises(Refused) as refused:
            await gateway.connect(auth=auth)
    assert (refused.value.message, refused.value.data) == (
        "a valid API key is needed",
        {"code": "unauthorized"},
    )


async def test_a_user_that_is_named_already_keeps_the_name(
    guarded: Guarded, seen: dict[str, Any]
) -> None:
    seen["plugins"]["ada"] = """
        async def ada(ctx, next):
            ctx.socket.data["user"] = "Ada"
            await next()
    """
    chain = ["ada", use("api_key", {"keys": KEYS})]
    async with guarded(connection_middleware=chain, **seen) as gateway:
        client = await gateway.connect(auth={"api_key": "first"})
        assert await client.call("data") == [{"user": "Ada", "api_key": "ada"}]


async def test_a_file_of_keys_is_read_again_when_it_changes(
    guarded: Guarded, tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    file = tmp_path / "keys"
    file.write_text(f"# who may\n\nada: {hashed('first')}\nteam:eve: {hashed('second')}\n")
    chain = [use("api_key", {"file": str(file)})]
    async with guarded(connection_middleware=chain) as gateway:
        for key in ("first", "second"):
            await gateway.connect(auth={"api_key": key})
        file.write_text(f"eve: {hashed('second')}\n")
        with pytest.raises(Refused):
            await gateway.connect(auth={"api_key": "first"})
        file.write_text("eve: second\n")
        for _ in range(2):
            await gateway.connect(auth={"api_key": "second"})
        file.unlink()
        await gateway.connect(auth={"api_key": "second"})
    assert [record.getMessage() for record in caplog.records if record.levelno > logging.INFO] == [
        f"{fault}; the old content stays in use"
        for fault in (
            f"{file}: key 'eve' is not the SHA-256 of a key in lower-case hex",
            f"cannot read {file}: No such file or directory",
        )
    ]


@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "{file}: there are no keys: nobody could connect"),
        (b"# ada\nada\n", "{file}: line 2 is not 'name: hash'"),
        (b"a: 1\nb: 2\na: 3", "{file}: line 3: there is a key 'a' already"),
        (b"\xff", "{file} is not UTF-8"),
    ],
)
def test_a_file_that_holds_no_keys(
    fault: Fault, tmp_path: Path, content: bytes, message: str
) -> None:
    file = tmp_path / "keys"
    file.write_bytes(content)
    assert fault("api_key", file=str(file)) == (
        f"'builtin.api_key' could not be made: ValueError: {message.format(file=file)}"
    )
