"""`${file:PATH}`: what a file says, as a value; and that no problem tells it."""

from __future__ import annotations

import os
from hashlib import sha256
from pathlib import Path

import pytest

from gateway.config import load, read
from gateway.config.references import FILE_LIMIT
from gateway.errors import ConfigError
from tests.gateway_files import write

CONFIG = """\
services:
  store:
    use: store.Store
    with:
      password: %s
namespaces: {/: }
"""


def password(file: Path) -> object:
    return load(file, {}).services["store"].options["password"]


@pytest.mark.parametrize(
    ("content", "value"),
    [
        ("hush", "hush"),
        ("hush\n", "hush"),
        ("hush\r\n", "hush"),
        ("hush\n\n", "hush\n"),
        (" two\nlines ", " two\nlines "),
        ("0123", "0123"),
        ("true", "true"),
        ("${HOME}", "${HOME}"),
        ("", ""),
        ("ä" * (FILE_LIMIT // 2), "ä" * (FILE_LIMIT // 2)),
    ],
)
def test_a_file_is_a_text_without_the_line_break_at_its_end(
    tmp_path: Path, content: str, value: str
) -> None:
    (tmp_path / "secret").write_bytes(content.encode())
    assert password(write(tmp_path, CONFIG % "${file:secret}")) == value


def test_it_may_be_a_part_of_a_value(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush\n")
    file = write(tmp_path, CONFIG % '"redis://:${file:secret}@host"')
    assert password(file) == "redis://:hush@host"


def test_a_path_is_relative_to_the_main_file_also_where_another_file_has_it(tmp_path: Path) -> None:
    (tmp_path / "secret").write_text("hush")
    (tmp_path / "more").mkdir()
    (tmp_path / "more/services.yaml").write_text(
        "services: {store: {use: store.Store, with: {password: '${file:secret}'}}}"
    )
    file = write(tmp_path, "include: more/*.yaml\nnamespaces: {/: }\n")
    assert password(file) == "hush"


def test_a_variable_may_be_named_file(tmp_path: Path) -> None:
    assert password(write(tmp_path, CONFIG % "${file:-a default}")) == "a default"


@pytest.mark.parametrize(
    ("name", "message"),
    [
        ("none", "cannot read 'none': no such file or directory"),
        ("folder", "'folder' is not a file"),
        ("pipe", "'pipe' is not a file"),
        ("/dev/zero", "'/dev/zero' is not a file"),
        ("large", "'large' is larger than 64 kB"),
        ("latin", "'latin' is not UTF-8"),
        ("null", "the character U+0000 is not allowed in text"),
    ],
)
def test_what_cannot_be_read_is_a_problem_at_its_place(
    tmp_path: Path, name: str, message: str
) -> None:
    (tmp_path / "folder").mkdir()
    os.mkfifo(tmp_path / "pipe")
    (tmp_path / "large").write_bytes(b"x" * (FILE_LIMIT + 1))
    (tmp_path / "latin").write_bytes(b"hush \xff")
    (tmp_path / "null").write_bytes(b"hush\0")
    file = write(tmp_path, CONFIG % f"${{file:{name}}}")
    with pytest.raises(ConfigError) as caught:
        load(file, {})
    assert str(caught.value) == f"{file}:5:17: services.store.with.password: {message}"


def test_files_that_are_referred_to_are_sources_whether_they_are_there_or_not(
    tmp_path: Path,
) -> None:
    (tmp_path / "here").write_text("hush")
    config = "services: {s: {use: s.S, with: {a: '${file:here}', b: '${file:/run/x[1]/none}'}}}\n"
    file = write(tmp_path, config)
    found = read(file, {}).record.files
    assert [*found] == [file, tmp_path / "here", Path("/run/x[1]/none")]
    assert found[tmp_path / "here"] == sha256(b"hush").hexdigest()
    assert found[Path("/run/x[1]/none")] == ""


@pytest.mark.parametrize(
    "line",
    [
        "server: {port: '${MARK}'}",
        "server: {transports: ['${MARK}']}",
        "server: {cors_origins: [https://a.example, '${MARK}', '${MARK}']}",
        "server: {ping_interval: '${MARK}'}",
        "server: '${MARK}'",
        "admin: {token: '${MARK}'}",
        "admin: {host: '${MARK}'}",
        "plugins: ['${MARK}', '${MARK}']",
        "services: {store: {use: '${MARK}'}}",
        "services: {store: {use: store.S, with: '${MARK}'}}",
        "namespaces: {/: {order: '${MARK}', routes: {say: '${MARK}'}}}",
        "'${MARK}'",
    ],
)
def test_no_problem_tells_what_a_variable_held(tmp_path: Path, line: str) -> None:
    file = write(tmp_path, line)
    with pytest.raises(ConfigError) as caught:
        load(file, {"MARK": "hush!"})
    assert "***" in str(caught.value)
    assert "hush" not in str(caught.value)


@pytest.mark.parametrize(
    ("option", "is_secret"),
    [
        ("password", True),
        ("api_key", True),
        ("apiKey", True),
        ("API-KEY", True),
        ("db_passphrase", True),
        ("tokens", True),
        ("key_file", False),
        ("monkey", False),
        ("source", False),
    ],
)
def test_options_whose_names_say_so_are_secrets(
    tmp_path: Path, option: str, is_secret: bool
) -> None:
    file = write(
        tmp_path,
        f"services: {{s: {{use: s.S, with: {{{option}: hushhush}}}}}}\nnamespaces: {{/: }}\n",
    )
    shown = load(file, {}).secrets.mask("it was hushhush")
    assert shown == ("it was ***" if is_secret else "it was hushhush")


def test_a_short_secret_is_masked_where_it_is_quoted(tmp_path: Path) -> None:
    secrets = load(write(tmp_path, CONFIG % "abc"), {}).secrets
    assert secrets.mask("'abc' is not in the abc") == "*** is not in the abc"
