"""What a notification tells of a contact, and how new each value is."""

from datetime import UTC, datetime, timedelta

import pytest

from consumers.consumer import Reject
from consumers.crm.change import Change, Field
from consumers.crm.reading import change_of
from consumers.notifications import Notification
from tests.consumers.crm.messages import notification, optin_info, sender_time

T = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)
HOUR = timedelta(hours=1)


def field(change: Change, slot: str) -> Field:
    return next(field for field in change.fields if field.slot == slot)


def values(told: Notification) -> dict[str, object]:
    return {field.slot: field.value for field in change_of(told).fields}


def test_a_created_contact_tells_its_fields_dates_and_flags() -> None:
    created = notification(
        "contact_created",
        "e1",
        executed=T,
        ContactData={
            "f_FirstName": "Ann",
            "f_Empty": None,
            "clKey": "secret",
            "idSource_Creation": 3,
            "dtCreated": "2026.11.24 11:00:00-04:00",
            "dtModified": None,
            "isActive": True,
            "isInvalidMailbox": None,
        },
    )

    assert values(created) == {
        "field:f_EMail": "c1@example.com",
        "field:f_FirstName": "Ann",
        "field:f_Empty": None,
        "field:dtCreated": "2026-11-24T15:00:00+00:00",
        "field:dtModified": None,
        "field:isActive": True,
    }


def test_contact_data_counts_more_than_the_key() -> None:
    modified = notification(
        "contact_modified", "e1", executed=T, ContactData={"f_EMail": "new@example.com"}
    )

    assert values(modified)["field:f_EMail"] == "new@example.com"


def test_the_time_of_a_modification_is_its_own_date_not_that_of_sending() -> None:
    one = change_of(
        notification(
            "contact_modified",
            "e1",
            executed=T + 2 * HOUR,
            ContactData={"f_A": 1, "dtModified": sender_time(T)},
        )
    )
    other = change_of(
        notification(
            "contact_modified",
            "e2",
            executed=T,
            ContactData={"f_A": 2, "dtModified": sender_time(T + HOUR)},
        )
    )

    assert field(one, "field:f_A").version < field(other, "field:f_A").version


def test_each_opt_out_field_has_its_own_time() -> None:
    change = change_of(
        notification(
            "contact_optout",
            "e1",
            executed=T + 5 * HOUR,
            OptinInfo=optin_info(("news", T), ("offers", T + HOUR), ("undated", None)),
            isActive=False,
        )
    )

    news, offers = field(change, "optin:news"), field(change, "optin:offers")
    assert (news.value, news.date) == (False, "2026-11-24T12:00:00+00:00")
    assert offers.date == "2026-11-24T13:00:00+00:00"
    assert field(change, "optin:undated").date == "2026-11-24T17:00:00+00:00"
    assert news.version < offers.version
    assert field(change, "field:isActive").value is False


def test_at_the_same_time_the_opt_out_is_newer_whatever_was_sent_later() -> None:
    info = optin_info(("news", T))
    out = change_of(notification("contact_optout", "a", executed=T, OptinInfo=info))
    in_ = change_of(notification("contact_optin", "z", executed=T + HOUR, OptinInfo=info))

    assert field(in_, "optin:news").version < field(out, "optin:news").version


def test_at_the_same_time_the_later_execution_then_the_greater_id_is_newer() -> None:
    data = {"f_A": 1, "dtModified": sender_time(T)}

    def version(event_id: str, executed: datetime) -> object:
        told = notification("contact_modified", event_id, executed=executed, ContactData=data)
        return field(change_of(told), "field:f_A").version

    assert version("z", T) < version("a", T + HOUR)  # type: ignore[operator]  # both are Version
    assert version("a", T) < version("b", T)  # type: ignore[operator]  # same


@pytest.mark.parametrize(
    "told",
    [
        notification("contact_created", "e", executed=T, contact=""),
        notification("contact_created", "e", executed=T, contact="x" * 201),
        notification("contact_created", "e" * 201, executed=T),
        notification("contact_created", "e", executed=T, ContactData={"f_" + "x" * 200: 1}),
    ],
)
def test_what_no_crm_could_hold_is_rejected(told: Notification) -> None:
    with pytest.raises(Reject):
        change_of(told)
