"""The manifests of deploy/kubernetes-cluster: checked by Kubernetes' schemas, and by sockgw."""

from __future__ import annotations

from pathlib import Path
from shutil import copytree
from typing import Any

import kubernetes_validate
import pytest
import yaml
from click.testing import CliRunner

from gateway.cli import main
from tests.deploy.shipped import DEPLOY, LONGEST_STOP, parsed

FOLDER = DEPLOY / "kubernetes-cluster"
KUSTOMIZATION = yaml.safe_load((FOLDER / "kustomization.yaml").read_text())
MANIFESTS: dict[str, Any] = {
    name: yaml.safe_load((FOLDER / name).read_text()) for name in KUSTOMIZATION["resources"]
}
DEPLOYMENT, SERVICE = MANIFESTS["deployment.yaml"], MANIFESTS["service.yaml"]
NETWORK, DISRUPTION = MANIFESTS["network.yaml"], MANIFESTS["disruption.yaml"]
LABELS = DEPLOYMENT["spec"]["template"]["metadata"]["labels"]
POD = DEPLOYMENT["spec"]["template"]["spec"]
[CONTAINER] = POD["containers"]
MOUNTS = {mount["name"]: mount["mountPath"] for mount in CONTAINER["volumeMounts"]}
PORTS = {port["name"]: port["containerPort"] for port in CONTAINER["ports"]}
CONFIG = (FOLDER / "config/gateway.yaml").read_text()
GATEWAY = yaml.safe_load(CONFIG)


@pytest.mark.parametrize("version", ["1.30", kubernetes_validate.latest_version()])
@pytest.mark.parametrize("name", MANIFESTS)
def test_a_manifest_is_what_kubernetes_expects(name: str, version: str) -> None:
    kubernetes_validate.validate(MANIFESTS[name], version, strict=True)


def test_every_file_is_there_and_mounted() -> None:
    others = {"kustomization.yaml", *MANIFESTS}
    assert {path.name for path in FOLDER.iterdir() if path.is_file()} == others
    generated = {each["name"]: each["files"] for each in KUSTOMIZATION["configMapGenerator"]}
    assert all((FOLDER / file).is_file() for files in generated.values() for file in files)
    mounted = {each["configMap"]["name"] for each in POD["volumes"] if "configMap" in each}
    assert mounted == generated.keys()
    assert MOUNTS.keys() == {each["name"] for each in POD["volumes"]}


def test_all_speak_of_the_same_pods() -> None:
    selectors = [
        *(each["spec"]["selector"]["matchLabels"] for each in (DEPLOYMENT, DISRUPTION)),
        NETWORK["spec"]["podSelector"]["matchLabels"],
        NETWORK["spec"]["ingress"][1]["from"][0]["podSelector"]["matchLabels"],
        POD["topologySpreadConstraints"][0]["labelSelector"]["matchLabels"],
        SERVICE["spec"]["selector"],
    ]
    assert all(selector == LABELS for selector in selectors)


def test_the_ports_of_links_are_open_to_pods_and_to_nobody_else() -> None:
    first, workers = GATEWAY["cluster"]["listen"]["port"], GATEWAY["server"]["workers"]
    links = set(range(first, first + workers))
    assert {port for name, port in PORTS.items() if name.startswith("link")} == links
    anyone, pods = NETWORK["spec"]["ingress"]
    assert [each["port"] for each in anyone["ports"]] == ["clients", "admin"]
    assert pods["ports"] == [{"port": min(links), "endPort": max(links)}]
    assert PORTS["admin"] == GATEWAY["admin"]["port"]


def test_a_pod_has_time_to_stop_and_others_stay() -> None:
    pause = CONTAINER["lifecycle"]["preStop"]["sleep"]["seconds"]
    assert POD["terminationGracePeriodSeconds"] > LONGEST_STOP + pause
    assert DISRUPTION["spec"]["maxUnavailable"] < DEPLOYMENT["spec"]["replicas"]


def test_its_command_and_its_file_are_good(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    assert parsed(["sockgw", *CONTAINER["args"]]) == "run"
    copytree(FOLDER, tmp_path, dirs_exist_ok=True)
    for name in ("token", "cluster"):
        (tmp_path / name).write_text("0123456789abcdef0123456789abcdef")
    file = tmp_path / "config/gateway.yaml"
    file.write_text(CONFIG.replace(MOUNTS["secrets"], str(tmp_path)))
    for each in CONTAINER["env"]:
        monkeypatch.delenv(each["name"], raising=False)
    result = CliRunner().invoke(main, ["check", str(file)])
    assert "the address of the pod" in result.stderr
    monkeypatch.setenv("NODE_IP", "10.0.0.1")
    monkeypatch.setenv("REDIS_URL", "redis://redis:6379")
    result = CliRunner().invoke(main, ["check", "--strict", str(file)])
    assert result.exit_code == 0, result.stderr
