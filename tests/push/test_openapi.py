"""The OpenAPI document is valid, served, and true: requests made from it never break the api."""

from __future__ import annotations

import asyncio
import os
import sys
from pathlib import Path

import orjson
import pytest
from openapi_spec_validator import OpenAPIV31SpecValidator, validate

from gateway.push.openapi import DOCUMENT
from tests.push.conftest import Connect
from tests.push.pushed_gateway import TOKENS, Api

SPEC = orjson.loads(DOCUMENT)


def test_the_document_is_valid() -> None:
    validate(SPEC, cls=OpenAPIV31SpecValidator)


async def test_it_is_served_without_a_token(api: Api) -> None:
    status, answer = await api.ask("GET", "/openapi.json", token=None)
    assert (status, answer) == (200, SPEC)


@pytest.mark.timeout(600)
async def test_requests_made_from_it(api: Api, connect: Connect, tmp_path: Path) -> None:
    """None gets a 5xx, or an answer of another shape than the document says."""
    phone = await connect("ann", "red")
    phone.answers = "yes"
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "schemathesis.cli", "run", f"{api.url}/openapi.json"),
        *("-H", f"Authorization: Bearer {TOKENS['all']}"),
        *("--checks", "not_a_server_error,status_code_conformance,content_type_conformance"),
        *("--checks", "response_schema_conformance"),
        *("--mode", "all", "--max-examples", "25", "--phases", "examples,coverage,fuzzing"),
        *("--suppress-health-check", "all", "--generation-database", "none", "--seed", "1"),
        cwd=tmp_path,
        env={**os.environ, "NO_COLOR": "1"},
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
    )
    output, _ = await process.communicate()
    assert process.returncode == 0, output.decode()[-5000:]
