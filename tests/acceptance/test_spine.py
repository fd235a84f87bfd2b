"""From the sender's POST to an effect, each role a process of its own."""

from __future__ import annotations

import json
from typing import TYPE_CHECKING

import httpx2

from bridge.sources import samples
from bridge.topics import KNOWN_TYPES
from tests.acceptance.sender import Sender, real
from tests.services.waiting import until

if TYPE_CHECKING:
    from tests.acceptance.installation import Installation

ADDRESS = "jane.doe@example.com"


def lag(installation: Installation) -> dict[str, object]:
    rows = [json.loads(line) for line in installation.run("lag", "--json").splitlines()]
    return {row["group"]: row["messages"] for row in rows}


def until_all_is_handled(installation: Installation) -> None:
    expected = {"crm": 0, "suppression": 0, "alerts": 0}
    until(lambda: lag(installation) == expected, f"no lag, but {lag(installation)}", 60)


async def test_the_eight_kinds_go_through_topics_and_take_effect(
    installation: Installation, system: str
) -> None:
    # given: an installation, made ready by its two commands, one process for each role
    installation.run("topology", "apply")
    installation.run("db", "upgrade")
    roles = [installation.start_ingress()]
    roles += [installation.consume(name) for name in ("crm", "suppression", "alerts")]
    sender = Sender(installation.url)

    async with httpx2.AsyncClient() as client:
        # when: the samples of the guide as they stand
        for type_ in KNOWN_TYPES:
            assert await sender.post(client, samples.sample(type_)) == 200
        until_all_is_handled(installation)
        # then: they are tests, and change nothing
        assert installation.run("suppression", "list", "--json") == ""

        # when: the same for real
        for type_ in KNOWN_TYPES:
            assert await sender.post(client, json.dumps([real(type_)]).encode()) == 200
        until_all_is_handled(installation)

    # then: they take effect
    verdict = json.loads(
        installation.run("suppression", "check", ADDRESS.upper(), "--json", expect=5)
    )
    assert {entry["reason"] for entry in verdict["entries"]} == {
        "complaint",
        "hard_bounce",
        "opt_out",
        "quarantine",
    }
    alerts = roles[3].output(lines=200)
    assert "a spam complaint" in alerts
    assert "rehearsal" in alerts
    for group in ("crm", "suppression", "alerts"):
        assert installation.run("dead", "list", group, "--json") == ""
    async with httpx2.AsyncClient() as client:
        metrics = (await client.get(f"http://127.0.0.1:{installation.admin_port}/metrics")).text
    sent = 'messaging_client_sent_messages_total{error_type="",messaging_destination_name='
    assert f'{sent}"{installation.environment["BRIDGE_TOPIC_PREFIX"]}.test"' in metrics
    assert f'messaging_system="{system}"' in metrics

    # when: everything is asked to end, then: it ends by itself, having said so
    for role in roles:
        role.stop()
    assert "ingress_stopped" in roles[0].output()
    for role in roles[1:]:
        assert "group_ended" in role.output()
