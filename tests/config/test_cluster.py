"""The `cluster` block: what becomes of it."""

from __future__ import annotations

from pathlib import Path
from shutil import copy

import pytest

from gateway.config import load
from gateway.config.model import (
    AcceptConfig,
    BusTlsConfig,
    ClusterConfig,
    NatsConfig,
    RedisConfig,
    SentinelConfig,
)
from gateway.errors import ConfigError
from tests.certificates import TLS


def cluster(folder: Path, text: str, **environ: str) -> ClusterConfig | None:
    file = folder / "gateway.yaml"
    file.write_text(f"namespaces: {{/: }}\n{text}\n")
    return load(file, environ).cluster


@pytest.mark.parametrize(
    ("redis", "expected"),
    [
        ("url: redis://h", RedisConfig("h")),
        ('url: "redis://u:p%40@h:7/3"', RedisConfig("h", 7, username="u", password="p@")),
        ('url: "redis://:p@h", password: q', RedisConfig("h", password="q")),
        ('url: "rediss://[::1]:7"', RedisConfig("::1", 7, is_tls=True)),
        ('url: "unix:///run/redis.sock"', RedisConfig(path="/run/redis.sock")),
        (
            'sentinel: {master: m, hosts: ["a", "b:1", "[::1]:2"], password: s}, password: p',
            RedisConfig(
                password="p",
                sentinel=SentinelConfig("m", (("a", 26379), ("b", 1), ("::1", 2)), None, "s"),
            ),
        ),
    ],
)
def test_redis_is_where_the_block_says(tmp_path: Path, redis: str, expected: RedisConfig) -> None:
    assert cluster(tmp_path, f"cluster: {{redis: {{{redis}}}}}") == ClusterConfig(expected)


@pytest.mark.parametrize(
    ("nats", "expected"),
    [
        ("url: nats://h", NatsConfig(("nats://h",))),
        ('url: "tls://h:7", token: t', NatsConfig(("tls://h:7",), token="t", is_tls=True)),
        (
            "url: [nats://a, nats://b], username: u, password: p",
            NatsConfig(("nats://a", "nats://b"), "u", "p"),
        ),
    ],
)
def test_nats_is_where_the_block_says(tmp_path: Path, nats: str, expected: NatsConfig) -> None:
    assert cluster(tmp_path, f"cluster: {{nats: {{{nats}}}}}") == ClusterConfig(nats=expected)


def test_files_of_tls_are_beside_the_file(tmp_path: Path) -> None:
    copy(TLS / "one.pem", tmp_path / "ca.pem")
    found = cluster(tmp_path, "cluster: {redis: {url: redis://h, tls: {ca: ca.pem}}}")
    tls = BusTlsConfig(ca=tmp_path / "ca.pem")
    assert found == ClusterConfig(RedisConfig("h", is_tls=True, tls=tls))


def test_what_is_accepted_has_a_short_form_and_a_long_one(tmp_path: Path) -> None:
    accept = "[node, {from: emitter, namespaces: [shop], operations: [emit, join]}]"
    found = cluster(tmp_path, f"cluster: {{redis: {{url: redis://h}}, accept: {accept}}}")
    assert found is not None
    assert found.accept == (
        AcceptConfig("node"),
        AcceptConfig("emitter", ("/shop",), ("emit", "join")),
    )


def test_a_password_is_a_secret(tmp_path: Path) -> None:
    file = tmp_path / "gateway.yaml"
    file.write_text('namespaces: {/: }\ncluster: {redis: {url: "${URL}"}}\n')
    config = load(file, {"URL": "redis://u:pass-word@h"})
    assert "pass-word" not in repr(config.cluster)
    assert config.secrets.mask("to redis://u:pass-word@h") == "to ***"


def test_without_a_cluster_there_is_none(tmp_path: Path) -> None:
    assert cluster(tmp_path, "cluster:") is None


@pytest.mark.parametrize("engine", ["redis", "nats"])
def test_a_missing_library_is_a_problem_that_says_what_to_install(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, engine: str
) -> None:
    monkeypatch.setattr("gateway.config.cluster.find_spec", lambda name: None)
    with pytest.raises(ConfigError) as raised:
        cluster(tmp_path, f"cluster: {{{engine}: {{url: {engine}://h}}}}")
    (problem,) = raised.value.problems
    assert str(problem).endswith(
        f"gateway.yaml:2:11: cluster.{engine}: needs a library that is not installed: "
        f"pip install 'sockgw[{engine}]'"
    )
