from __future__ import annotations

import json

from jsonschema import Draft202012Validator

from tests.cli.invoke import invoke


def test_the_schema_is_printed_whole() -> None:
    schema = json.loads(invoke("schema").stdout)
    Draft202012Validator.check_schema(schema)
    assert {"server", "plugins", "services", "namespaces"} <= schema["properties"].keys()
