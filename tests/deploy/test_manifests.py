"""The manifests for Kubernetes, as files: what they say of Reftide is true."""

import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import orjson
import pytest
import yaml
from jsonschema import Draft7Validator

from ingest.contracts.variables import DEFAULT_SHARDS
from scripts.monitoring.rules import rules
from scripts.services.parsers import CONSOLE_PATHS
from tests.deploy.manifests import ROOT, documents

_SCHEMA = Path(__file__).with_name("scaled_object.schema.json")


def _pods() -> Iterator[tuple[str, dict[str, Any]]]:
    for path in ("edge", "worker", "console", "schema"):
        for each in documents(f"base/{path}.yaml"):
            if "template" in each.get("spec", {}):
                yield path, each["spec"]["template"]["spec"]


def _variables(pod: dict[str, Any]) -> set[str]:
    return {each["name"] for each in pod["containers"][0].get("env", ())}


PODS = dict(_pods())


def test_an_edge_does_not_know_the_database() -> None:
    assert "DATABASE_URL" not in _variables(PODS["edge"])
    for name in ("worker", "console", "schema"):
        assert "DATABASE_URL" in _variables(PODS[name])


def test_every_variable_is_a_setting_of_the_docs() -> None:
    [common] = documents("base/kustomization.yaml")
    literals = common["configMapGenerator"][0]["literals"]
    named = {each.partition("=")[0] for each in literals}.union(
        *map(_variables, PODS.values())
    )
    settings = (ROOT / "docs" / "operating.md").read_text()

    assert set() == {each for each in named if f"`{each}`" not in settings}


@pytest.mark.parametrize("name", PODS)
def test_a_pod_may_do_no_more_than_it_needs(name: str) -> None:
    pod = PODS[name]
    [container] = pod["containers"]

    assert pod["automountServiceAccountToken"] is False
    assert pod["securityContext"]["runAsNonRoot"] is True
    # The user of the image.
    user = re.search(r"--uid (\d+)", (ROOT / "Dockerfile").read_text())
    assert user is not None
    assert int(user[1]) == pod["securityContext"]["runAsUser"]
    assert {
        "allowPrivilegeEscalation": False,
        "readOnlyRootFilesystem": True,
        "capabilities": {"drop": ["ALL"]},
    } == container["securityContext"]


def test_an_edge_has_time_to_drain() -> None:
    [common] = documents("base/kustomization.yaml")
    literals = dict(
        each.split("=") for each in common["configMapGenerator"][0]["literals"]
    )
    drains = int(literals["REFTIDE_DRAIN_SECONDS"])

    # It is not ready at once, and out of turn after two looks.
    probe = PODS["edge"]["containers"][0]["readinessProbe"]
    assert drains >= probe["periodSeconds"] * probe["failureThreshold"]
    assert drains + 30 <= PODS["edge"]["terminationGracePeriodSeconds"]


def test_the_ingress_sends_to_the_console_what_no_code_may_be() -> None:
    [ingress] = documents("components/ingress/ingress.yaml")
    [rule] = ingress["spec"]["rules"]
    found = {
        each["path"]: each["backend"]["service"]["name"]
        for each in rule["http"]["paths"]
    }

    assert {
        **dict.fromkeys(CONSOLE_PATHS, "reftide-console"),
        "/": "reftide-edge",
    } == found


def test_compose_gives_the_proxy_variables_that_it_knows() -> None:
    proxy = yaml.safe_load((ROOT / "compose.yaml").read_text())["services"]["proxy"]
    known = re.findall(
        r"\{\$(\w+)", (ROOT / "scripts" / "deploy" / "Caddyfile").read_text()
    )

    assert {"REFTIDE_SITE", "REFTIDE_CONSOLE"} == {*proxy["environment"]}
    assert {*proxy["environment"]} <= {*known}


def test_the_alerts_are_those_that_reftide_prints() -> None:
    [found] = documents("components/prometheus/rules.yaml")

    assert rules("docs/runbook.md") == found["spec"]


def test_the_scaled_object_is_one_of_kedas() -> None:
    [found] = documents("components/keda/workers.yaml")
    validator = Draft7Validator(orjson.loads(_SCHEMA.read_bytes()))

    assert [] == [error.message for error in validator.iter_errors(found)]
    assert DEFAULT_SHARDS == found["spec"]["maxReplicaCount"]
    found["spec"]["maxReplicas"] = 4
    assert [*validator.iter_errors(found)]
