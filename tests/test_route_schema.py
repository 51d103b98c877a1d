"""The `schema` of a route: what does not fit is answered, and its handler is not called."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest

from gateway.compiler import load
from gateway.config.checks import _GATEWAY_EVENTS
from gateway.errors import ConfigError
from gateway.runtime.blueprint import GATEWAY_EVENTS
from gateway.testing import TestClient, TestGateway
from tests.gateway_files import write

TEXT = {"type": "string", "maxLength": 5}
CONFIG = {
    "packet_middleware": ["chat.count"],
    "routes": {
        "say": {"use": "chat.say", "schema": [TEXT]},
        "count": "chat.counted",
        "*": {"use": "chat.other", "schema": {"maxItems": 1, "items": TEXT}},
    },
}
CHAT = """
async def count(ctx, next):
    ctx.socket.data["packets"] = ctx.socket.data.get("packets", 0) + 1
    if ctx.args == [0]:
        ctx.args = ["zero"]
    await next()

async def counted(ctx):
    return ctx.socket.data

async def say(ctx, text):
    ctx.socket.data["said"] = text
    return text

async def other(ctx):
    return ctx.packet
"""


def serving(folder: Path, config: dict[str, Any] = CONFIG) -> TestGateway:
    return TestGateway(write(folder, json.dumps({"namespaces": {"/": config}}), chat=CHAT), {})


def refusal(message: str) -> list[object]:
    return [{"error": {"code": "bad_request", "message": message}}]


async def test_what_fits_reaches_the_handler(tmp_path: Path) -> None:
    async with serving(tmp_path) as gateway:
        client = await gateway.connect()
        assert await client.call("say", "hello") == ["hello"]
        assert await client.call("unheard", "of") == [["unheard", "of"]]


async def test_what_does_not_fit_is_refused_behind_the_packet_chain(tmp_path: Path) -> None:
    async with serving(tmp_path) as gateway:
        client = await gateway.connect()
        assert await client.call("say", 1) == refusal("args[0]: 1 is not of type 'string'")
        assert await client.call("say", "a", "b") == refusal("args: ['a', 'b'] is too long")
        assert await client.call("count") == [{"packets": 3}]


async def test_more_values_than_the_bound_are_refused(tmp_path: Path) -> None:
    routes = {"say": {"use": "chat.say", "schema": [{"type": "array"}], "max_values": 3}}
    async with serving(tmp_path, {"routes": routes}) as gateway:
        client = await gateway.connect()
        assert await client.call("say", [1, 2]) == [[1, 2]]
        assert await client.call("say", [1, 2, 3]) == refusal("args: more than 3 values")


async def test_what_the_packet_chain_makes_of_the_arguments_is_checked(tmp_path: Path) -> None:
    async with serving(tmp_path) as gateway:
        assert await (await gateway.connect()).call("say", 0) == ["zero"]


async def test_events_without_a_route_are_held_to_the_schema_of_theirs(tmp_path: Path) -> None:
    async with serving(tmp_path) as gateway:
        client = await gateway.connect()
        assert await client.call("any", "a", "b") == refusal("args: ['a', 'b'] is too long")
        assert await client.call("any", [1]) == refusal("args[0]: [1] is not of type 'string'")


async def test_without_an_ack_the_refusal_is_an_error_event(tmp_path: Path) -> None:
    async with serving(tmp_path) as gateway:
        client = await gateway.connect()
        await client.emit("say", 1)
        [error] = (await client.receive("error")).args
    message = "args[0]: 1 is not of type 'string'"
    assert error == {"error": {"code": "bad_request", "message": message}, "event": "say"}


async def test_a_schema_that_changes_holds_for_the_next_packet(tmp_path: Path) -> None:
    async with serving(tmp_path) as gateway:
        client: TestClient = await gateway.connect()
        assert await client.call("say", "longer") == refusal("args[0]: 'longer' is too long")
        serving(tmp_path, {"routes": {"say": {"use": "chat.say", "schema": [{"minLength": 6}]}}})
        await gateway.reload()
        assert await client.call("say", "longer") == ["longer"]
        assert await client.call("say", "short") == refusal("args[0]: 'short' is too short")


def test_a_bad_schema_is_a_problem_at_its_part(tmp_path: Path) -> None:
    config = """
        namespaces:
          /:
            routes:
              say:
                use: chat.say
                schema:
                  - {type: string}
                  - type: object
                    properties:
                      x: {type: strng}
              draw: {use: chat.sya, schema: {items: {$ref: "#/$defs/point"}}}
              old: {use: chat.other, schema: {$schema: draft-7}}
    """
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, config, chat=CHAT), {})
    told = str(caught.value).replace(f"{tmp_path}/gateway.yaml:", "").splitlines()
    routes = "namespaces./.routes"
    assert told == [
        (
            f"11:25: {routes}.say.schema[1].properties.x.type: "
            "not a JSON Schema: there is no type 'strng', did you mean 'string'?"
        ),
        f"12:19: {routes}.draw.use: no plugin 'chat.sya', did you mean 'chat.say'?",
        (f"12:52: {routes}.draw.schema.items.$ref: the schema has no '#/$defs/point' to refer to"),
        (
            f"13:48: {routes}.old.schema.$schema: expected a draft of JSON Schema "
            "such as https://json-schema.org/draft/2020-12/schema"
        ),
    ]


def test_a_value_from_a_reference_is_not_told(tmp_path: Path) -> None:
    config = 'namespaces: {/: {routes: {say: {use: chat.say, schema: [{type: "${KIND}"}]}}}}'
    with pytest.raises(ConfigError) as caught:
        load(write(tmp_path, config, chat=CHAT), {"KIND": "hunter2"})
    [problem] = caught.value.problems
    assert problem.message == (
        "not a JSON Schema: there is no type '***'; "
        "types: array, boolean, integer, null, number, object, string"
    )


def test_the_gateways_own_events_are_those_that_take_no_schema() -> None:
    assert set(_GATEWAY_EVENTS) == GATEWAY_EVENTS
