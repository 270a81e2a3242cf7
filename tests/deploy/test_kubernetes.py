"""The manifests for Kubernetes, rendered by `kubectl` and validated against Kubernetes' own schemas.

Install `kubernetes-client`, and `kubernetes-validate` into a virtual environment whose `bin` is
in PATH, then run `scripts/test -m kubernetes`.
"""

import subprocess
from pathlib import Path
from typing import Any

import pytest
import yaml

from tests.deploy.manifests import MANIFESTS

pytestmark = pytest.mark.kubernetes


def _rendered(name: str) -> str:
    command = ["kubectl", "kustomize", str(MANIFESTS / name)]
    return subprocess.run(command, capture_output=True, check=True, text=True).stdout


@pytest.mark.parametrize("name", ["base", "example"])
def test_what_is_rendered_is_valid(name: str, tmp_path: Path) -> None:
    file = tmp_path / "all.yaml"
    file.write_text(_rendered(name))

    command = ["kubernetes-validate", "--strict", str(file)]
    done = subprocess.run(command, capture_output=True, check=False, text=True)

    assert 0 == done.returncode, done.stdout + done.stderr


def test_the_example_changes_what_it_says() -> None:
    found: dict[str, dict[str, Any]] = {
        f"{each['kind']} {each['metadata']['name'].partition('-')[0]}": each
        for each in yaml.safe_load_all(_rendered("example"))
        if each["kind"] in {"StatefulSet", "Ingress", "ConfigMap"}
    }

    edges = found["StatefulSet reftide"]["spec"]
    assert 3 == edges["replicas"]
    image = edges["template"]["spec"]["containers"][0]["image"]
    assert "registry.example.com/reftide:0.2.0" == image
    [rule] = found["Ingress reftide"]["spec"]["rules"]
    assert "go.example.com" == rule["host"]
    data = found["ConfigMap reftide"]["data"]
    assert "10.42.0.0/16" == data["REFTIDE_TRUSTED_PROXIES"]
    assert "10" == data["REFTIDE_DRAIN_SECONDS"]


def test_workers_are_kedas_to_count_and_share_an_archive() -> None:
    [worker] = [
        each
        for each in yaml.safe_load_all(_rendered("example"))
        if each["kind"] == "Deployment" and "worker" in each["metadata"]["name"]
    ]
    pod = worker["spec"]["template"]["spec"]

    assert "replicas" not in worker["spec"]
    assert {"data", "tmp", "archive"} == {each["name"] for each in pod["volumes"]}
    named = {each["name"]: each.get("value") for each in pod["containers"][0]["env"]}
    assert "/var/lib/reftide/archive" == named["REFTIDE_ARCHIVE"]
