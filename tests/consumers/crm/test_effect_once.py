"""However often, in whatever order, and with crashes anywhere: the CRM ends as the history says.

The model below decides by the words of the design alone, and shares no code with the consumer.
"""

import asyncio
import itertools
import random
import types
from collections.abc import Callable, Coroutine, Generator, Sequence
from contextlib import suppress
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest

from consumers.consumer import Unavailable
from consumers.notifications import Notification
from tests.consumers.crm.messages import notification, optin_info, sender_time
from tests.consumers.crm.replica import running
from tests.consumers.crm.server import CrmServer, Failure

T = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
SECOND = timedelta(seconds=1)
ROUNDS = 6
EVENTS = 14
CONTACTS = (1, 2)
# Model: (contact, slot) -> (event time, suppresses, dtExecution, event id, value)
Told = tuple[datetime, bool, datetime, str, Any]


class Crash(Exception):
    """The process died here, as far as the code under test can tell."""


@types.coroutine
def _cancelled_at(step: int, work: Coroutine[Any, Any, None]) -> Generator[Any, Any, None]:
    resume: Callable[[Any], Any] = work.send
    value: Any = None
    for count in itertools.count(1):
        try:
            waited = resume(value)
        except StopIteration:
            return
        task = asyncio.current_task()
        if count == step and task is not None:
            task.cancel()
        try:
            value = yield waited
            resume = work.send
        except BaseException as error:  # noqa: BLE001 - handed on as it is
            resume, value = work.throw, error


async def crashing_at(step: int, work: Coroutine[Any, Any, None]) -> None:
    """Run `work` up to its `step`-th suspension and end it there.

    A transaction that had begun in its thread may still commit, as on a server.

    Raises:
        Crash: it was ended.
    """
    try:
        await _cancelled_at(step, work)
    except asyncio.CancelledError as error:
        task = asyncio.current_task()
        assert task is not None
        assert task.uncancel() == 0
        raise Crash from error


class History:
    """Random notifications of a few contacts, close enough in time to tie often, and the truth."""

    def __init__(self, random_: random.Random) -> None:
        self._random = random_
        self.truth: dict[tuple[int, str], Told] = {}
        self.notifications = [self._make(f"event-{number:02}") for number in range(EVENTS)]

    def _make(self, event_id: str) -> Notification:
        at = T + self._random.randrange(4) * SECOND
        executed = T + self._random.randrange(10, 14) * SECOND
        contact = self._random.choice(CONTACTS)
        kind = self._random.choice(
            ("contact_created", "contact_modified", "contact_optin", "contact_optout")
        )
        parts: dict[str, Any] = {}
        told: dict[str, tuple[datetime, Any]] = {"f_EMail": (at, f"c{contact}@example.com")}
        if kind in ("contact_created", "contact_modified"):
            date = "dtCreated" if kind == "contact_created" else "dtModified"
            told[date] = (at, at.isoformat())
            parts["ContactData"] = {date: sender_time(at)}
            for name in self._random.sample(("f_A", "f_B", "f_C"), 2):
                parts["ContactData"][name] = event_id
                told[name] = (at, event_id)
            active = self._random.choice((True, False))
            parts["ContactData"]["isActive"] = active
            told["isActive"] = (at, active)
        else:
            dates = {name: T + self._random.randrange(4) * SECOND for name in ("news", "offers")}
            parts["OptinInfo"] = optin_info(*dates.items())
            for name, date_ in dates.items():
                told[f"optin {name}"] = (date_, kind == "contact_optin")
            told["f_EMail"] = (max(dates.values()), told["f_EMail"][1])
        for slot, (time, value) in told.items():
            self._tell(contact, slot, (time, value is False, executed, event_id, value))
        return notification(kind, event_id, executed=executed, contact=contact, **parts)

    def _tell(self, contact: int, slot: str, told: Told) -> None:
        known = self.truth.get((contact, slot))
        if known is None or known[:4] < told[:4]:
            self.truth[contact, slot] = told

    @property
    def contacts(self) -> dict[tuple[int, str], Any]:
        return {key: told[4] for key, told in self.truth.items()}


def found(crm: CrmServer) -> dict[tuple[int, str], Any]:
    """The CRM's memory in the model's terms."""
    values = {}
    for key, document in crm.contacts.items():
        contact = int(key.partition("-")[2])
        for name, value in document.get("fields", {}).items():
            values[contact, name] = value
        for name, value in document.get("optins", {}).items():
            values[contact, f"optin {name}"] = value["subscribed"]
    return values


def deliveries(random_: random.Random, history: Sequence[Notification]) -> list[Notification]:
    copies = [told for told in history for _ in range(random_.randint(1, 3))]
    random_.shuffle(copies)
    return copies


async def test_any_order_and_number_of_deliveries_with_crashes_anywhere_end_in_the_same_contacts(
    crm: CrmServer, database_url: str, seed: int
) -> None:
    random_ = random.Random(seed)
    crashes = 0
    for round_ in range(ROUNDS):
        history = History(random_)
        # Ids and contacts of the rounds must not meet in the ledger: each its own project.
        waiting = deliveries(random_, [_in_project(told, round_) for told in history.notifications])
        crm.contacts.clear()
        while waiting:
            async with running(database_url, crm.url) as handle:
                for _ in range(len(waiting)):
                    told = waiting.pop(0)
                    if random_.random() < 0.2:
                        crm.failures.append(Failure(status=0, stored=random_.choice((True, False))))
                        crm.failures.append(Failure(status=500, stored=True))
                    try:
                        await crashing_at(random_.choice((1, 3, 5, 8, 12, 20, 1000)), handle(told))
                    except (Crash, Unavailable):
                        crashes += 1
                        crm.failures.clear()
                        # Not acked: it comes again, before or after others.
                        waiting.insert(random_.randint(0, len(waiting)), told)

        assert found(crm) == history.contacts, f"round {round_}"
    assert crashes > ROUNDS


def _in_project(told: Notification, number: int) -> Notification:
    return told.model_copy(update={"project": str(number)})


async def test_two_replicas_that_share_the_contacts_tell_the_same_in_the_end(
    crm: CrmServer, database_url: str, seed: int
) -> None:
    random_ = random.Random(seed)
    history = History(random_)
    copies = deliveries(random_, history.notifications)

    async def lane(handle: Any, contact: int) -> None:
        for told in copies:
            if told.contact == str(contact):
                await handle(told)

    async with (
        running(database_url, crm.url) as one,
        running(database_url, crm.url) as other,
        asyncio.TaskGroup() as tasks,
    ):
        tasks.create_task(lane(one, 1))
        tasks.create_task(lane(other, 2))

    assert found(crm) == history.contacts


@pytest.mark.parametrize("step", range(1, 12))
async def test_a_crash_at_any_step_leaves_both_effect_and_note_or_allows_the_repeat(
    crm: CrmServer, sqlite_url: str, step: int
) -> None:
    told = notification("contact_modified", "e1", executed=T, ContactData={"f_First": "Ann"})
    async with running(sqlite_url, crm.url) as handle:
        with suppress(Crash):
            await crashing_at(step, handle(told))
        await handle(told)
        await handle(told)

    assert crm.contacts["1234-1"]["fields"]["f_First"] == "Ann"
    assert 1 <= len(crm.requests) <= 2
