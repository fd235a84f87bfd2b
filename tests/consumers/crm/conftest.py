"""A CRM for each test; the databases are those of all consumers' tests."""

from collections.abc import Iterator

import pytest

from tests.consumers.crm.server import CrmServer, crm_server


@pytest.fixture
def crm() -> Iterator[CrmServer]:
    with crm_server() as server:
        yield server
