"""A process that is killed between the effect and the note of it."""

import asyncio
import subprocess
import sys

from tests.consumers.crm.server import CrmServer, Failure
from tests.consumers.crm.test_crm import rows
from tests.services.waiting import until


def test_a_process_killed_before_its_note_repeats_the_same_request_and_no_more(
    crm: CrmServer, sqlite_url: str
) -> None:
    command = [sys.executable, "-m", "tests.consumers.crm.one_delivery", sqlite_url, crm.url]
    # given a CRM that has the contact and does not answer yet
    crm.failures.append(Failure(status=200, stored=True, silent=1.0))
    with subprocess.Popen(command) as process:
        until(lambda: bool(crm.requests), "the first request")
        process.kill()
    assert asyncio.run(rows(sqlite_url)) == (0, 0)
    # when the delivery comes again, and once more
    for _ in range(2):
        subprocess.run(command, check=True)
    # then the CRM was told the same thing twice, and it is noted once
    assert len(crm.requests) == 2
    assert len({request.body for request in crm.requests}) == 1
    assert {request.headers["idempotency-key"] for request in crm.requests} == {"e1"}
    assert (asyncio.run(rows(sqlite_url)))[1] == 1
