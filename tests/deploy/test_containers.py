"""The image built and run, and Compose's profiles brought up, on a real engine.

By hand, since it builds an image and takes minutes: BRIDGE_TEST_CONTAINERS=1, with a Docker engine
that has or can pull the images. KAFKA_IMAGE and the like choose others, as in .env.example.
"""

from __future__ import annotations

import os
import subprocess
import sys
import uuid
from contextlib import closing
from pathlib import Path
from typing import TYPE_CHECKING

import httpx2
import pytest

from tests.deploy.repository import ROOT
from tests.services.ports import Ports
from tests.services.waiting import until

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.deploy.compose import Compose

pytestmark = [
    pytest.mark.slow,
    pytest.mark.skipif(
        not os.environ.get("BRIDGE_TEST_CONTAINERS"),
        reason="BRIDGE_TEST_CONTAINERS=1 builds the image and brings the Compose file up",
    ),
]

PROFILES = {
    "embedded": {"ingress": "bridge", "suppression": "bridge", "prints": "bridge"},
    "kafka": {"ingress": "kafka-ingress", "suppression": "kafka-suppression", "prints": "token"},
    "rabbitmq": {
        "ingress": "rabbitmq-ingress",
        "suppression": "rabbitmq-suppression",
        "prints": "token",
    },
}
START_SECONDS = 300
GRACE_SECONDS = 30


class Project:
    """One Compose project with ports and volumes of its own."""

    def __init__(self, compose: Compose, profile: str, ports: dict[str, str]) -> None:
        self._binary = str(compose.binary)
        self.profile = profile
        self._environment = (
            os.environ | ports | {"COMPOSE_PROJECT_NAME": f"bridge-test-{uuid.uuid4().hex[:8]}"}
        )

    def run(self, *arguments: str) -> str:
        """What `docker compose` prints; raises where it fails."""
        return subprocess.run(
            [self._binary, "--profile", self.profile, *arguments],
            cwd=ROOT,
            env=self._environment,
            capture_output=True,
            text=True,
            check=True,
            timeout=START_SECONDS,
        ).stdout

    def docker(self, *arguments: str) -> str:
        return subprocess.run(
            ["docker", *arguments], capture_output=True, text=True, check=True
        ).stdout.strip()

    def container(self, service: str) -> str:
        return self.run("ps", "--all", "--quiet", service).strip()

    def state(self, service: str, field: str) -> str:
        return self.docker("inspect", "--format", f"{{{{{field}}}}}", self.container(service))


@pytest.fixture(params=PROFILES)
def project(compose: Compose, request: pytest.FixtureRequest) -> Iterator[Project]:
    names = ["BRIDGE_PORT", "BRIDGE_ADMIN_PORT", "KAFKA_PORT", "RABBITMQ_PORT"]
    names.append("RABBITMQ_MANAGEMENT_PORT")
    with closing(Ports()) as ports:
        chosen = {name: str(ports.take()) for name in names}
        project = Project(compose, request.param, chosen)
        try:
            project.run("up", "--detach", "--build")
            yield project
        finally:
            project.run("down", "--volumes")


def test_a_notification_posted_to_the_published_port_takes_effect(project: Project) -> None:
    service = PROFILES[project.profile]
    until(
        lambda: project.state(service["ingress"], ".State.Health.Status") == "healthy",
        seconds=60,
        what="the ingress is healthy",
    )
    printed = project.run("logs", "--no-log-prefix", service["prints"])
    (url,) = [line.strip() for line in printed.splitlines() if "/hooks/" in line]

    # given: eight notifications from outside
    assert httpx2.get(url).status_code == 200
    sent = subprocess.run(
        [
            str(Path(sys.executable).with_name("bridge")),
            "send",
            "--all",
            "--real",
            "--email",
            "from@outside.example",
            "--to",
            url,
        ],
        capture_output=True,
        text=True,
        check=False,
    )
    assert sent.returncode == 0, sent.stderr

    # then: they have an effect
    until(
        lambda: (
            "opt_out"
            in project.run(
                "exec", "--no-TTY", service["suppression"], "bridge", "suppression", "list"
            )
        ),
        seconds=60,
        what="the address is on the suppression list",
    )
    # and: nobody is root, or can write where only the image is
    roles = {service["ingress"], service["suppression"]}
    for name in roles:
        assert project.run("exec", "--no-TTY", name, "id", "--user").strip() == "10001"
        assert project.state(name, ".HostConfig.ReadonlyRootfs") == "true"
    # and: the end is clean, within the grace
    for name in roles:
        project.docker("stop", "--time", str(GRACE_SECONDS), project.container(name))
        assert project.state(name, ".State.ExitCode") == "0"
