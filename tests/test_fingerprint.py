"""The fingerprint of what is served: equal on machines that serve the same, and tells no secret."""

from __future__ import annotations

from pathlib import Path

import pytest

from gateway.snapshot import take_snapshot
from tests.gateway_files import write

CONFIG = """
server: {{host: {host}, port: {port}, max_payload: 1MB{more}}}
admin: {{socket: run/admin.sock}}
api: {{port: 7003, tokens: [{{name: shop, token: "{token}", scopes: [read]}}]}}
cluster: {{name: shop, redis: {{url: "{redis}"}}, listen: {{host: 127.0.0.1, port: {link}}}}}
backends: {{orders: {{url: "http://127.0.0.1", sign: "{sign}"}}}}
services:
  store: {{use: store.Store, with: {{url: "{url}", api_key: {key}, size: {size}}}}}
namespaces: {{/: {{routes: {{say: chat.say}}}}}}
"""

WRITTEN = {
    "host": "127.0.0.1",
    "port": 7001,
    "more": "",
    "token": "0123456789abcdef",
    "redis": "redis://127.0.0.1",
    "link": 7400,
    "sign": "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw",
    "url": "redis://user:hunter2@127.0.0.1",
    "key": 1234,
    "size": 5,
}

PLUGINS = {
    "store": "class Store:\n    def __init__(self, url, api_key, size): ...\n",
    "chat": "async def say(ctx): ...\n",
}

ENVIRON = {"SIZE": "6"}


def fingerprint(
    folder: Path,
    written: dict[str, object],
    plugins: dict[str, str] = PLUGINS,
    environ: dict[str, str] = ENVIRON,
) -> str:
    folder.mkdir(exist_ok=True)
    file = write(folder, CONFIG.format(**{**WRITTEN, **written}), **plugins)
    snapshot = take_snapshot(file, environ)
    assert snapshot.problems == ()
    assert snapshot.config is not None
    return snapshot.config.fingerprint


@pytest.mark.parametrize(
    "written",
    [
        {"host": "localhost"},
        {"port": 7002},
        {"redis": "redis://:secret@10.0.0.5:6379"},
        {"link": 7401},
        {"token": "fedcba9876543210"},
        {"sign": "whsec_AAAAAAAAAAAAAAAAAAAAAAAAAAAAAAAA"},
        {"url": "redis://user:p@ss@127.0.0.1"},
        {"key": 4321},
    ],
    ids=lambda written: next(iter(written)),
)
def test_addresses_and_secrets_may_differ(tmp_path: Path, written: dict[str, object]) -> None:
    assert fingerprint(tmp_path / "one", {}) == fingerprint(tmp_path / "two", written)


@pytest.mark.parametrize(
    ("written", "environ"),
    [
        ({"size": '"${SIZE}"'}, {"SIZE": "7"}),
        ({"size": '"${SIZE:-5}"'}, {}),
        ({"url": "redis://127.0.0.1/${SIZE}"}, {"SIZE": "0"}),
        ({"url": "${URL:-redis://127.0.0.1}"}, {"URL": "redis://10.0.0.5"}),
    ],
    ids=lambda given: next(iter(given), ""),
)
def test_variables_may_differ(
    tmp_path: Path, written: dict[str, object], environ: dict[str, str]
) -> None:
    here = fingerprint(tmp_path / "here", written)
    assert fingerprint(tmp_path / "there", written, environ=environ) == here
    assert fingerprint(tmp_path / "literal", {}) != here


@pytest.mark.parametrize(
    "written",
    [
        {"size": 6},
        {"more": ", ping_interval: 20s"},
        {"url": "redis://user:hunter2@10.0.0.5"},
    ],
    ids=str,
)
def test_what_else_is_written_may_not_differ(tmp_path: Path, written: dict[str, object]) -> None:
    assert fingerprint(tmp_path / "one", {}) != fingerprint(tmp_path / "two", written)


def test_plugins_and_pages_may_not_differ(tmp_path: Path) -> None:
    one = fingerprint(tmp_path / "one", {})
    changed = {**PLUGINS, "chat": "async def say(ctx): return 2\n"}
    assert fingerprint(tmp_path / "two", {}, changed) != one
    pages = {"more": ", static: {/: web}"}
    found = set()
    for name in ("three", "four", "five"):
        (tmp_path / name / "web").mkdir(parents=True)
        (tmp_path / name / "web/index.html").write_text("four" if name == "four" else "a page")
        found.add(fingerprint(tmp_path / name, pages))
    assert len(found) == 2


def test_how_the_file_is_laid_out_does_not_count(tmp_path: Path) -> None:
    found = set()
    for number, text in enumerate(
        (
            "namespaces: {/: {routes: {say: chat.say}}}\n",
            "# a comment\nnamespaces:\n  /:\n    routes:\n      say: 'chat.say'\n",
            "x-routes: &routes {say: chat.say}\nnamespaces: {/: {routes: *routes}}\n",
        )
    ):
        (tmp_path / str(number)).mkdir()
        snapshot = take_snapshot(write(tmp_path / str(number), text, **PLUGINS), {})
        assert snapshot.config is not None
        found.add(snapshot.config.fingerprint)
    assert len(found) == 2  # the anchor is a key of its own
