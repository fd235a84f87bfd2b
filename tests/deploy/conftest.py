"""The tools, and the files that they judge."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest

from tests.deploy.chart import Chart
from tests.deploy.compose import Compose
from tests.deploy.tools import COMPOSE, HADOLINT, HELM, Tool, Unreachable, obtain
from tests.services.service import Unobtainable

if TYPE_CHECKING:
    from pathlib import Path


@pytest.fixture(scope="session")
def chart() -> Chart:
    return Chart(_obtain(HELM))


@pytest.fixture(scope="session")
def compose() -> Compose:
    return Compose(_obtain(COMPOSE))


@pytest.fixture(scope="session")
def hadolint() -> Path:
    return _obtain(HADOLINT)


def _obtain(tool: Tool) -> Path:
    try:
        return obtain(tool)
    except Unobtainable as reason:
        if os.environ.get("CI") == "true" and not isinstance(reason, Unreachable):
            pytest.fail(str(reason), pytrace=False)
        pytest.skip(str(reason))
