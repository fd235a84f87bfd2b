"""An installation on each broker."""

from __future__ import annotations

from typing import TYPE_CHECKING

import pytest

from tests.acceptance.installation import Installation

if TYPE_CHECKING:
    from collections.abc import Iterator

    from tests.services.workspace import Workspace

SYSTEMS = ("embedded", "kafka", "rabbitmq")


@pytest.fixture(params=SYSTEMS)
def system(request: pytest.FixtureRequest) -> str:
    return str(request.param)


@pytest.fixture
def installation(
    system: str, workspace: Workspace, prefix: str, request: pytest.FixtureRequest
) -> Iterator[Installation]:
    """Commands that find the broker of this run of the test; nothing is applied yet."""
    variables = {"BRIDGE_KAFKA_PARTITIONS": "4"}
    if system == "embedded":
        url = "sqlite:///var/bridge.db"
    else:
        service = request.getfixturevalue(system)
        url = service.url
        if system == "rabbitmq":
            variables["BRIDGE_RABBITMQ_MANAGEMENT_URL"] = service.management_url
    made = Installation(workspace, url, prefix=prefix, **variables)
    yield made
    made.close()
