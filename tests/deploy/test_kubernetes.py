"""The manifests of deploy/kubernetes: checked by Kubernetes' schemas, and served as mounted."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Any

import aiohttp
import kubernetes_validate
import pytest
import yaml

from tests.config_map import swapped_in
from tests.deploy.shipped import DEPLOY, LONGEST_STOP, parsed
from tests.ports import free_port
from tests.reload.calling_client import caller
from tests.reload.edited_daemon import running

FOLDER = DEPLOY / "kubernetes"


def manifest(name: str) -> Any:
    return yaml.safe_load((FOLDER / f"{name}.yaml").read_text())


DEPLOYMENT, SERVICE = manifest("deployment"), manifest("service")
KUSTOMIZATION = manifest("kustomization")
POD = DEPLOYMENT["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]
MOUNTS = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
PORTS = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("document", [DEPLOYMENT, SERVICE], ids=["deployment", "service"])
def test_a_manifest_is_what_kubernetes_expects(document: Any, version: str) -> None:
    kubernetes_validate.validate(document, version, strict=True)


def test_the_service_leads_to_the_pods() -> None:
    labels = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
    selectors = DEPLOYMENT["spec"]["selector"]["matchLabels"], SERVICE["spec"]["selector"]
    assert all(selector.items() <= labels.items() for selector in selectors)
    assert {port["targetPort"] for port in SERVICE["spec"]["ports"]} <= PORTS.keys()


def test_every_file_is_there_and_mounted() -> None:
    assert {*KUSTOMIZATION["resources"]} == {"deployment.yaml", "service.yaml"}
    generated = {each["name"]: each["files"] for each in KUSTOMIZATION["configMapGenerator"]}
    assert all((FOLDER / file).is_file() for files in generated.values() for file in files)
    mounted = {each["configMap"]["name"] for each in POD["volumes"] if "configMap" in each}
    assert mounted == generated.keys()
    assert MOUNTS.keys() == {each["name"] for each in POD["volumes"]}
    assert not any("subPath" in mount for mount in CONTAINER["volumeMounts"])


def test_a_pod_has_time_to_stop() -> None:
    pause = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert POD["terminationGracePeriodSeconds"] > LONGEST_STOP + pause


def test_its_command_is_one_of_sockgw() -> None:
    assert parsed(["sockgw", *CONTAINER["args"]]) == "run"


async def test_config_maps_are_served_probed_and_updated(tmp_path: Path) -> None:
    """The container's folders are in `tmp_path`, and its ports are others."""
    port = free_port()
    gateway = tmp_path / MOUNTS["config"].lstrip("/")
    plugins = tmp_path / MOUNTS["plugins"].lstrip("/")
    secrets = tmp_path / MOUNTS["secrets"].lstrip("/")
    for folder in (gateway, plugins, secrets):
        folder.mkdir(parents=True)
    text = (FOLDER / "config/gateway.yaml").read_text()
    assert f"port: {PORTS['admin']}\n" in text
    text = text.replace(f"port: {PORTS['admin']}\n", f"port: {port}\n")
    text = text.replace("host: 0.0.0.0", "host: 127.0.0.1")
    text = text.replace(MOUNTS["secrets"], str(secrets))
    chat = (FOLDER / "plugins/chat.py").read_text()
    swapped_in(secrets, "..1", {"token": "0123456789abcdef"})
    swapped_in(plugins, "..1", {"chat.py": chat, "old.py": ""})
    swapped_in(gateway, "..1", {"gateway.yaml": text})
    assert CONTAINER["args"][1] == f"{gateway.name}/gateway.yaml"
    async with running(tmp_path, file=gateway / "gateway.yaml") as one:
        async with aiohttp.ClientSession(f"http://127.0.0.1:{port}") as http:
            for probe in ("startupProbe", "readinessProbe", "livenessProbe"):
                get = CONTAINER[probe]["httpGet"]
                assert get["port"] == "admin"
                async with http.get(get["path"]) as answer:
                    assert answer.status == 200
        swapped_in(plugins, "..2", {"chat.py": re.sub(r"(\n +)await", r"\1return 'new' #", chat)})
        verdict = await one.verdict()
        assert verdict.plan.changes == ("- ../plugins/old.py", "~ ../plugins/chat.py")
        swapped_in(gateway, "..2", {"gateway.yaml": text.replace("chat:", "say:")})
        assert (await one.verdict()).result == "applied"
        async with caller(one.url) as client:
            assert await client.call("say", "hello") == ["new"]
