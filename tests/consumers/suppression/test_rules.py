"""The rules, as pure functions: each said in words, then held against every order of arrival."""

from __future__ import annotations

import itertools
from typing import TYPE_CHECKING, Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge.sources.samples import sample
from bridge.topics import KNOWN_TYPES
from consumers.notifications import SendingBounce, read
from consumers.suppression.rules import (
    ALL,
    Kind,
    Reason,
    apply,
    decide,
    sightings,
)
from tests.consumers.messages import message, notification, optin_info, utc

if TYPE_CHECKING:
    import random
    from collections.abc import Iterable
    from datetime import datetime

    from consumers.notifications import Notification
    from consumers.suppression.rules import Statement

JO = (Kind.ADDRESS, "jo@example.com")
CONTACT = (Kind.CONTACT, "1")


def said(item: Notification) -> list[Statement]:
    return decide(item, email_field="f_EMail")


def active(history: Iterable[Notification]) -> set[tuple[str, str, str]]:
    """Subject, scope and reason of all active entries."""
    state = apply({}, [statement for item in history for statement in said(item)])
    return {(s.subject, s.scope, s.reason.value) for s in state.values() if s.suppressed}


def of_contact(history: Iterable[Notification]) -> set[tuple[str, str]]:
    return {(scope, reason) for subject, scope, reason in active(history) if subject == "1"}


def optout(id_: str = "out", *, is_active: object = True, **dates: int | None) -> Notification:
    return notification(
        "contact_optout", id_, minutes=50, OptinInfo=optin_info(**dates), isActive=is_active
    )


def optin(id_: str = "in", *, is_active: object = False, **dates: int | None) -> Notification:
    return notification(
        "contact_optin", id_, minutes=50, OptinInfo=optin_info(**dates), isActive=is_active
    )


def bounce(**info: object) -> Notification:
    return notification("sending_Bounce", "bounce", minutes=5, DeliveryErrorInfo=info)


def test_an_opt_out_sets_each_field_at_its_own_date_for_address_and_contact() -> None:
    statements = said(optout(news=1, offers=2))
    assert {(s.kind, s.subject, s.scope, s.order.event_time) for s in statements} == {
        (*JO, "news", utc(1)),
        (*JO, "offers", utc(2)),
        (*CONTACT, "news", utc(1)),
        (*CONTACT, "offers", utc(2)),
    }
    assert all(s.suppressed and s.reason is Reason.OPT_OUT for s in statements)
    assert {(s.project, s.address, s.contact, s.source) for s in statements} == {
        ("1234", "jo@example.com", "1", "contact_optout")
    }


def test_an_opt_out_that_makes_inactive_sets_everything_too() -> None:
    for inactive in (False, "false", 0):
        item = optout(news=1, is_active=inactive)
        assert of_contact([item]) == {("news", "opt_out"), (ALL, "opt_out")}
    for other in (True, None, "?"):
        assert of_contact([optout(news=1, is_active=other)]) == {("news", "opt_out")}


def test_everything_is_set_at_the_latest_date_of_the_fields() -> None:
    statements = said(optout(news=1, offers=7, is_active=False))
    assert {s.order.event_time for s in statements if s.scope == ALL} == {utc(7)}


def test_an_opt_out_that_names_no_field_is_taken_for_all() -> None:
    assert of_contact([optout()]) == {(ALL, "opt_out")}


def test_an_opt_in_clears_its_fields_only_and_everything_only_when_it_makes_active() -> None:
    out = optout(news=1, offers=1, is_active=False)
    assert of_contact([out, optin(news=2)]) == {("offers", "opt_out"), (ALL, "opt_out")}
    assert of_contact([out, optin(news=2, is_active=True)]) == {("offers", "opt_out")}
    assert of_contact([out, optin(news=2, offers=2, is_active="true")]) == set()


def test_a_field_that_is_called_everything_clears_nothing() -> None:
    out = optout(is_active=False)
    assert of_contact([out, notification("contact_optin", OptinInfo=optin_info(**{"*": 60}))]) == {
        (ALL, "opt_out")
    }


def test_a_tie_stays_suppressed_whatever_was_executed_later() -> None:
    first, last = optout("a", news=5), optin("z", news=5)
    assert of_contact([first, last]) == of_contact([last, first]) == {("news", "opt_out")}


def test_an_older_opt_out_that_arrives_late_does_not_come_back() -> None:
    assert of_contact([optin(news=5), optout(news=4)]) == set()
    assert of_contact([optin(news=5), optout(news=6)]) == {("news", "opt_out")}


def test_an_opt_in_survives_as_a_tombstone_even_without_an_opt_out() -> None:
    state = apply({}, said(optin(news=5)))
    assert [s.suppressed for s in state.values()] == [False, False]


@pytest.mark.parametrize(
    ("stays", "reason"),
    [
        (notification("contact_complaint", "c"), "complaint"),
        (notification("contact_quarantine", "q"), "quarantine"),
        (bounce(BounceCode="5.1.1"), "hard_bounce"),
    ],
)
def test_complaint_bounce_and_quarantine_set_everything_and_survive_an_opt_in(
    stays: Notification, reason: str
) -> None:
    later = optin(news=50, is_active=True)
    assert ("jo@example.com", ALL, reason) in active([stays, later])
    assert ("jo@example.com", ALL, reason) in active([later, stays])


def test_what_is_wrong_with_an_address_is_not_carried_to_the_contact_s_next() -> None:
    subjects = {s.kind for s in said(bounce(BounceCode="5.1.1"))}
    assert subjects == {Kind.ADDRESS}
    assert {s.kind for s in said(notification("contact_quarantine"))} == {Kind.ADDRESS}
    assert {s.kind for s in said(notification("contact_complaint"))} == set(Kind)


def test_without_an_address_the_contact_is_suppressed_and_the_other_way_round() -> None:
    for type_ in ("contact_optout", "contact_complaint", "contact_quarantine", "sending_Bounce"):
        nameless = notification(type_, email=None)
        assert {(s.kind, s.subject) for s in said(nameless)} == {CONTACT}
        loose = notification(type_, contact=None)
        assert {(s.kind, s.subject) for s in said(loose)} == {JO}
        assert said(notification(type_, contact=None, email=None)) == []


@pytest.mark.parametrize(
    ("info", "hard"),
    [
        ({"BounceCode": "5.1.1", "isInvalidMailbox": False}, True),
        ({"BounceCode": "4.2.2"}, False),
        ({"BounceCode": "4.2.2", "isInvalidMailbox": True}, True),
        ({"BounceCode": "4.2.2", "dsnDiag": "smtp;550 5.1.1 no such user"}, False),
        ({"dsnDiag": "smtp;550 5.1.1 no such user"}, True),
        ({"dsnDiag": "smtp;550 no such user"}, True),
        ({"BounceCode": "5.2.2", "dsnDiag": "smtp;552 5.2.2 mailbox full"}, False),
        ({"dsnDiag": "smtp;450 4.7.1 try later, not 5.1.1"}, False),
        ({"dsnDiag": "host 5.1.1.1 said no", "isInvalidMailbox": None}, False),
        ({"dsnDiag": "blocked: 15.1.1"}, False),
        ({"BounceCode": "2.0.0"}, False),
        ({"BounceType": "BounceBack"}, False),
        ({"isInvalidMailbox": "true"}, True),
        ({}, False),
    ],
)
def test_a_bounce_is_hard_by_its_status_code_or_an_invalid_mailbox(
    *, info: dict[str, object], hard: bool
) -> None:
    item = bounce(**info)
    assert isinstance(item, SendingBounce)
    assert active([item]) == ({("jo@example.com", ALL, "hard_bounce")} if hard else set())
    assert [s.reason for s in said(item)] == [Reason.HARD_BOUNCE if hard else Reason.SOFT_BOUNCE]


def test_created_and_modified_only_show_addresses() -> None:
    item = notification(
        "contact_modified", email="Old@b.c", ContactData={"f_EMail": "new@b.c", "dtModified": None}
    )
    assert said(item) == []
    seen = sightings(item, email_field="f_EMail")
    assert {(s.contact, s.address_key, s.address) for s in seen} == {
        ("1", "old@b.c", "Old@b.c"),
        ("1", "new@b.c", "new@b.c"),
    }
    assert sightings(notification("contact_created", contact=None), email_field="f_EMail") == []


def test_the_samples_of_the_guide_say_what_they_say() -> None:
    def reasons(type_: str) -> list[tuple[str, str, bool]]:
        item = read(message(sample(type_)))
        return [(s.scope, s.reason.value, s.suppressed) for s in said(item) if s.subject == "email"]

    assert {type_: reasons(type_) for type_ in KNOWN_TYPES} == {
        "contact_created": [],
        "contact_modified": [],
        "sending_ProductionError": [],
        "contact_optin": [(f, "opt_out", False) for f in ("infolettre", "infolettre2", "*")],
        "contact_optout": [(f, "opt_out", True) for f in ("infolettre", "infolettre2", "*")],
        "contact_quarantine": [("*", "quarantine", True)],
        "contact_complaint": [("*", "complaint", True)],
        "sending_Bounce": [("*", "hard_bounce", True)],
    }


# Any history, any order


def random_history(choose: random.Random, length: int) -> list[Notification]:
    """Notifications of few contacts, addresses, fields and moments: many ties and overlaps."""
    return [_random_notification(choose, f"e{n}") for n in range(length)]


def _random_notification(choose: random.Random, id_: str) -> Notification:
    type_ = choose.choice(
        ["contact_optout", "contact_optin", "contact_optout", "contact_optin", "contact_complaint",
         "contact_quarantine", "sending_Bounce", "contact_modified"]
    )  # fmt: skip
    rest: dict[str, Any] = {}
    if type_ in ("contact_optout", "contact_optin"):
        fields = choose.sample(["news", "offers"], choose.randint(0, 2))
        dates = {field: choose.choice([0, 1, 2, 3, None]) for field in fields}
        rest = {"OptinInfo": optin_info(**dates), "isActive": choose.choice([True, False, None])}
    elif type_ == "sending_Bounce":
        rest = {"DeliveryErrorInfo": {"BounceCode": choose.choice(["5.1.1", "4.2.2"])}}
    elif type_ == "contact_modified":
        rest = {"ContactData": {"f_EMail": choose.choice(["Kim@example.com", "KIM@example.com"])}}
    return notification(
        type_,
        id_,
        contact=choose.choice([1, 2, 1, None]),
        email=choose.choice(["jo@example.com", "Jo@Example.com", "kim@example.com", None]),
        minutes=choose.randint(0, 3),
        **rest,
    )


def expected(history: Iterable[Notification], subject: str, scope: str) -> bool:
    """Whether opt-outs suppress a subject in a scope, said without the rules' own words."""
    opted_out: list[datetime] = []
    opted_in: list[datetime] = []
    for item in history:
        names = {item.contact, (item.email("f_EMail") or "").lower()}
        if subject not in names or item.type not in ("contact_optout", "contact_optin"):
            continue
        out = item.type == "contact_optout"
        entries = (item.data["OptinInfo"]["Fields"]) or []
        named = {entry["OptinField"] for entry in entries}
        everything = item.data["isActive"] is (not out) or (out and not named)
        if scope in named or (scope == ALL and everything):
            when = item.event_time(None if scope == ALL else scope)
            (opted_out if out else opted_in).append(when)
    return bool(opted_out) and (not opted_in or max(opted_out) >= max(opted_in))


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False), st.integers(0, 8))
def test_any_order_and_any_repeats_give_the_same_state(choose: random.Random, length: int) -> None:
    history = random_history(choose, length)
    state = apply({}, [s for item in history for s in said(item)])
    for _ in range(5):
        shuffled = history + choose.sample(history, choose.randint(0, length))
        choose.shuffle(shuffled)
        other: dict[Any, Statement] = {}
        for item in shuffled:
            other = apply(other, said(item))
        assert other == state


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.randoms(use_true_random=False), st.integers(0, 8))
def test_the_state_is_what_the_words_of_the_rules_say(choose: random.Random, length: int) -> None:
    history = random_history(choose, length)
    found = active(history)
    for subject, scope in itertools.product(
        ("1", "2", "jo@example.com", "kim@example.com"), ("news", "offers", ALL)
    ):
        suppressed = (subject, scope, "opt_out") in found
        assert suppressed is expected(history, subject, scope), (subject, scope)
