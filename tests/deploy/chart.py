"""The chart, rendered by helm."""

from __future__ import annotations

import json
import subprocess
from typing import TYPE_CHECKING, Any

import yaml

from tests.deploy.repository import CHART

if TYPE_CHECKING:
    from pathlib import Path

Manifest = dict[str, Any]


class Refused(Exception):
    """Helm refused the values; the text is what it said."""


class Chart:
    """Runs helm over our chart. Values are given as they would stand in a values file."""

    def __init__(self, helm: Path) -> None:
        self._helm = helm

    def lint(self, values: Manifest) -> str:
        """What `helm lint --strict` says. Raises Refused."""
        return self._run("lint", "--strict", str(CHART), values=values)

    def render(self, values: Manifest, *, release: str = "bridge") -> list[Manifest]:
        """All manifests, hooks too. Raises Refused."""
        text = self._run("template", release, str(CHART), values=values)
        return [manifest for manifest in yaml.safe_load_all(text) if manifest]

    def _run(self, *arguments: str, values: Manifest) -> str:
        done = subprocess.run(
            [str(self._helm), *arguments, "--values", "-"],
            input=json.dumps(values),
            capture_output=True,
            text=True,
            check=False,
        )
        if done.returncode:
            raise Refused(done.stdout + done.stderr)
        return done.stdout


def pods(manifests: list[Manifest]) -> dict[str, Manifest]:
    """The pod template of each workload, by the workload's name."""
    return {
        manifest["metadata"]["name"]: manifest["spec"]["template"]
        for manifest in manifests
        if manifest["kind"] in {"Deployment", "StatefulSet", "Job"}
    }


def container(pod: Manifest) -> Manifest:
    """The one container of a pod."""
    (only,) = pod["spec"]["containers"]
    assert isinstance(only, dict)
    return only


def environment(pod: Manifest) -> dict[str, Any]:
    """Variable -> value, or where its value comes from."""
    return {
        variable["name"]: variable.get("value", variable.get("valueFrom"))
        for variable in container(pod)["env"]
    }
