"""The guide's samples as data, and the notifications made from them."""

import json
from datetime import UTC, datetime, timedelta, timezone

import pytest

from bridge.errors import ConfigurationError
from bridge.message import CE_ID, CE_TIME
from bridge.sources.samples import notification, sample, sender_date
from bridge.topics import KNOWN_TYPES
from tests.sources.posting import HAPPENED, post_one


@pytest.mark.parametrize("type_", KNOWN_TYPES)
def test_a_sample_is_an_array_with_one_test_notification(type_: str) -> None:
    [element] = json.loads(sample(type_))

    assert element["type"] == type_
    assert element["isTest"] is True
    assert element["ContactID"] == {"f_EMail": "EMail", "idContact": 1}


def test_the_line_breaks_of_the_print_are_taken_out() -> None:
    [quarantine] = json.loads(sample("contact_quarantine"))
    [complaint] = json.loads(sample("contact_complaint"))

    diagnosis = "smtp;550 5.1.1 The email account that you tried to reach does not exist."
    assert quarantine["QuarantineInfo"]["dsnDiag"] == diagnosis
    lines = complaint["ComplaintInfo"]["FBL_Report"].split("\r\n")
    assert len(lines) == 56
    assert lines[:3] == ["", "From: <abusedesk@example.com>", "Date: Thu, 8 Mar 2005 17:40:36 EDT"]
    assert lines[9] == "--part1_13d.2e68ed54_boundary"
    assert lines[-2:] == ["--part1_13d.2e68ed54_boundary", ""]


@pytest.mark.parametrize("type_", KNOWN_TYPES)
def test_a_notification_has_every_field_of_its_sample(type_: str) -> None:
    [element] = json.loads(sample(type_))

    made = notification(type_, id="new", at=HAPPENED, contact=5, email="a@example.org")

    assert list(made) == list(element)
    assert made["EventUniqueID"] == "new"
    assert made["dtExecution"] == "2016.09.19 10:54:49-04:00"
    assert made["ContactID"] == {"f_EMail": "a@example.org", "idContact": 5}
    assert made["isTest"] is True


@pytest.mark.parametrize("type_", KNOWN_TYPES)
def test_a_real_notification_carries_no_test_mark_and_no_old_date(type_: str) -> None:
    made = notification(type_, id="new", at=datetime(2026, 11, 24, 9, 0, tzinfo=UTC), test=False)

    assert "isTest" not in made
    assert "2016" not in json.dumps(made)
    assert post_one(made).topic == f"notifications.{type_}"


def test_the_dates_of_a_notification_follow_from_its_moment() -> None:
    at = datetime(2026, 11, 24, 9, 0, tzinfo=UTC)

    opted_out = notification("contact_optout", id="a", at=at)
    quarantined = notification("contact_quarantine", id="b", at=at)
    modified = notification("contact_modified", id="c", at=at)
    bounced = notification("sending_Bounce", id="d", at=at)

    now, before = "2026.11.24 09:00:00+00:00", "2026.11.24 08:50:00+00:00"
    assert [field["OptinDate"] for field in opted_out["OptinInfo"]["Fields"]] == [now, now]
    assert quarantined["QuarantineInfo"]["dtBounce"] == now
    assert quarantined["QuarantineInfo"]["dtProcessed"] == before
    assert modified["ContactData"]["dtModified"] == now
    assert modified["ContactData"]["dtCreated"] == "2025.11.24 09:00:00+00:00"
    assert bounced["SendLog"]["dtProcessed"] == before


def test_the_address_stands_wherever_the_sender_writes_it() -> None:
    made = notification(
        "contact_complaint", id="a", at=HAPPENED, email="me@example.org", email_field="f_Mail"
    )

    assert made["ContactID"] == {"f_Mail": "me@example.org", "idContact": 1}
    report = made["ComplaintInfo"]["FBL_Report"]
    assert "Original-Rcpt-To: <me@example.org>" in report
    assert "Removal-Recipient: me@example.org" in report


def test_notifications_made_one_after_the_other_share_nothing() -> None:
    first = notification("contact_optin", id="a", at=HAPPENED)
    first["OptinInfo"]["Fields"].clear()

    second = notification("contact_optin", id="b", at=HAPPENED)

    assert len(second["OptinInfo"]["Fields"]) == 2


@pytest.mark.parametrize("hours", [-5, 0, 5.5])
def test_the_senders_date_is_read_back_as_the_same_moment(hours: float) -> None:
    at = datetime(2026, 1, 2, 3, 4, 5, 678, tzinfo=timezone(timedelta(hours=hours)))

    message = post_one(notification("contact_optin", id="a", at=at))

    assert message.header(CE_ID) == b"a"
    assert datetime.fromisoformat(message.text(CE_TIME)) == at.replace(microsecond=0)
    assert len(sender_date(at)) == 25


@pytest.mark.parametrize("type_", ["contact_click", "", "../contact_optin", "Contact_Optin"])
def test_a_type_without_a_sample_is_refused_with_those_that_have_one(type_: str) -> None:
    with pytest.raises(ConfigurationError, match="contact_complaint"):
        sample(type_)
