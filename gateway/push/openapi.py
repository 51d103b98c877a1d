"""The description of the api: an OpenAPI 3.1 document.

The shapes of requests are those of the types that read them; the rest is written here.
"""

from __future__ import annotations

import inspect
from collections.abc import Mapping
from typing import Any

import msgspec
import orjson

from gateway.push.operations import LIST_LIMIT, LONGEST_CURSOR, OPERATIONS, Batch, Push
from gateway.push.problems import CODES

__all__ = ["DOCUMENT"]

_Data = dict[str, Any]

_REF = "#/components/schemas/"
_TEXT: _Data = {"type": "string"}
_COUNT: _Data = {"type": "integer", "minimum": 0}
_TEXTS: _Data = {"type": "array", "items": _TEXT}
_ARGS: _Data = {"type": "array", "items": True}


def _object(**properties: _Data) -> _Data:
    return {"type": "object", "required": list(properties), "properties": properties}


def _list(of: _Data) -> _Data:
    return {"type": "array", "items": of}


def _or_null(schema: _Data) -> _Data:
    return {"anyOf": [schema, {"type": "null"}]}


_ANSWERS: Mapping[str, _Data] = {
    "Sent": _object(sockets=_COUNT, missing_members=_TEXTS),
    "Answers": _object(
        answers=_list(_object(socket=_TEXT, args=_ARGS)),
        missing=_list(_object(socket=_TEXT)),
        missing_members=_TEXTS,
    ),
    "Changed": _object(sockets=_COUNT),
    "Results": _object(results=_list(_object(status={"type": "integer"}, body={"type": "object"}))),
    "Namespaces": _object(namespaces=_list(_object(namespace=_TEXT, sockets=_COUNT))),
    "Rooms": _object(
        rooms=_list(_object(room=_TEXT, sockets=_COUNT)),
        next=_or_null(_TEXT),
        missing_members=_TEXTS,
    ),
    "Sockets": _object(
        sockets=_list({"$ref": f"{_REF}Socket"}),
        next=_or_null(_TEXT),
        total=_COUNT,
        missing_members=_TEXTS,
    ),
    "Socket": _object(
        id=_TEXT,
        namespace=_TEXT,
        user=_or_null(_TEXT),
        rooms=_TEXTS,
        room_count=_COUNT,
        address=_TEXT,
        connected={"type": "number"},
    ),
    "Problem": _object(
        title=_TEXT,
        status={"type": "integer"},
        code={"type": "string", "enum": list(CODES)},
        detail=_TEXT,
    ),
}

_OF_PUSH = {
    "emit": "Sent",
    "call": "Answers",
    "join": "Changed",
    "leave": "Changed",
    "disconnect": "Changed",
}

_TOO_LONG: _Data = {"description": "The request is no HTTP, or its first line is too long."}

_KEY: _Data = {
    "name": "Idempotency-Key",
    "in": "header",
    "description": "The same key within ten minutes is not done again, but answered as before.",
    "schema": {"type": "string", "minLength": 1, "maxLength": 255},
}


def _answer(schema: str, text: str) -> _Data:
    content = {"application/json": {"schema": {"$ref": _REF + schema}}}
    return {"description": text, "content": content}


def _responses(schema: str, *statuses: int) -> _Data:
    content = {"application/problem+json": {"schema": {"$ref": f"{_REF}Problem"}}}
    refused = {
        str(status): {
            "description": ", ".join(code for code, each in CODES.items() if each == status),
            "content": content,
        }
        for status in (401, 403, *statuses, 422, 500, 503)
    }
    return {"200": _answer(schema, "Done."), **dict(sorted(refused.items()))}


def _post(name: str, kind: type[Push] | type[Batch], schema: str) -> _Data:
    body = {"application/json": {"schema": {"$ref": _REF + kind.__name__}}}
    return {
        "operationId": name,
        "summary": inspect.cleandoc(kind.__doc__ or "").partition("\n")[0],
        "parameters": [_KEY],
        "requestBody": {"required": True, "content": body},
        "responses": _responses(schema, 400, 404, 413),
    }


def _get(name: str, text: str, schema: str, *parameters: _Data) -> _Data:
    return {
        "operationId": name,
        "summary": text,
        "parameters": list(parameters),
        "responses": {**_responses(schema, 404), "400": _TOO_LONG},
    }


def _in_query(name: str, schema: _Data, *, required: bool = False) -> _Data:
    return {"name": name, "in": "query", "required": required, "schema": schema}


def _in_path(name: str) -> _Data:
    schema = {"type": "string", "minLength": 1, "maxLength": 1000}
    return {"name": name, "in": "path", "required": True, "schema": schema}


_NAME: _Data = {"type": "string", "minLength": 1, "maxLength": 1000}
_CURSOR: _Data = {
    "type": "string",
    "maxLength": LONGEST_CURSOR,
    "pattern": "^[A-Za-z0-9_-]*$",
    "description": "The `next` of the page before.",
}
_USER: _Data = {"type": "string", "minLength": 1, "maxLength": 256}
_LISTS = ("rooms", "users", "sockets")
_PAGE = (
    _in_query("limit", {"type": "integer", "minimum": 1, "maximum": LIST_LIMIT, "default": 100}),
    _in_query("after", _CURSOR),
)


def _paths() -> _Data:
    pushes = {
        f"/v1/{name}": {"post": _post(name, kind, _OF_PUSH[name])}
        for name, kind in OPERATIONS.items()
    }
    namespace, room, user = (
        _in_query("namespace", _NAME, required=True),
        _in_query("room", _NAME),
        _in_query("user", _USER),
    )
    rooms = _get("rooms", "List rooms.", "Rooms", _in_path("namespace"), *_PAGE)
    sockets = _get("sockets", "List sockets.", "Sockets", namespace, room, user, *_PAGE)
    return {
        **pushes,
        "/v1/batch": {"post": _post("batch", Batch, "Results")},
        "/v1/namespaces": {"get": _get("namespaces", "List namespaces.", "Namespaces")},
        "/v1/namespaces/{namespace}/rooms": {"get": rooms},
        "/v1/sockets": {"get": sockets},
        "/v1/sockets/{id}": {"get": _get("socket", "Find a socket.", "Socket", _in_path("id"))},
    }


def _document() -> _Data:
    _, shapes = msgspec.json.schema_components(
        [*OPERATIONS.values(), Batch], ref_template=_REF + "{name}"
    )
    for shape in shapes.values():
        shape["description"] = inspect.cleandoc(shape["description"])
    shapes["Target"]["anyOf"] = [
        *({"properties": {name: {"minItems": 1}}, "required": [name]} for name in _LISTS),
        {"properties": {"all": {"const": True}}, "required": ["all"]},
    ]
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "sockgw api",
            "version": "1",
            "description": "Sends to the sockets of a gateway, changes and lists them. Bytes are "
            'written as {"$base64": "..."}.',
        },
        "security": [{"token": []}],
        "paths": _paths(),
        "components": {
            "securitySchemes": {"token": {"type": "http", "scheme": "bearer"}},
            "schemas": {**shapes, **_ANSWERS},
        },
    }


DOCUMENT: bytes = orjson.dumps(_document())
"""The document, in JSON."""
