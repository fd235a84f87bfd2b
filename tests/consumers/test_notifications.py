"""Reading: the guide's samples, the traps in them, and bodies that want to break the reader."""

from __future__ import annotations

import contextlib
import json
from datetime import UTC, datetime, timedelta
from typing import Any

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from bridge import message as wire
from bridge.message import Message
from bridge.sources.samples import sample
from bridge.topics import KNOWN_TYPES
from consumers.notifications import (
    UNKNOWN_TIME,
    ContactComplaint,
    ContactCreated,
    ContactOptin,
    ContactOptout,
    ContactQuarantine,
    Notification,
    SendingBounce,
    SendingProductionError,
    Undecodable,
    read,
)
from consumers.values import ERROR_NAMES, ErrorCode, SenderTime
from tests.consumers.messages import RECEIVED, at, message, notification, optin_info, utc


def raw(body: bytes, type_: str = "contact_optout") -> Message:
    """A message that no source of ours made."""
    return Message(topic="t", key=b"k", body=body, headers=((wire.CE_TYPE, type_.encode()),))


def of_guide(type_: str) -> Any:
    return read(message(sample(type_)))


def test_every_sample_of_the_guide_is_a_test_with_its_common_values() -> None:
    for type_ in KNOWN_TYPES:
        read_ = of_guide(type_)
        assert read_.type == type_
        assert (read_.company, read_.project, read_.contact) == ("1", "1234", "1")
        assert read_.is_test
        assert not read_.replayed
        assert read_.received_at == RECEIVED
        assert read_.executed_at.utc.year == 2016
        assert read_.email("f_EMail") == "EMail"
        assert read_.contact_fields == {"f_EMail": "EMail"}


def test_a_bounce_tells_the_mailing_and_what_the_server_said() -> None:
    bounce: SendingBounce = of_guide("sending_Bounce")
    assert bounce.send_log.event_type == "Batch"
    assert bounce.send_log.category == "456"
    assert bounce.send_log.processed_at == SenderTime(
        "2016.09.19 10:54:49-04:00", datetime(2016, 9, 19, 14, 54, 49, tzinfo=UTC)
    )
    assert bounce.error.mta == "mail.exemple.com"
    assert bounce.error.code == "5.1.1"
    assert bounce.error.is_invalid_mailbox is False
    assert bounce.error.bounce_type == "BounceBack"


def test_a_production_error_code_is_the_same_as_name_and_as_number() -> None:
    assert of_guide("sending_ProductionError").error.code == ErrorCode("NoContent", 103)
    for number, name in ERROR_NAMES.items():
        for sent in (number, str(number), name, name.upper()):
            read_ = notification("sending_ProductionError", ProductionErrorInfo={"ErrorCode": sent})
            assert isinstance(read_, SendingProductionError)
            assert read_.error.code == ErrorCode(name, number)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        (17, ErrorCode("", 17)),
        ("Novelty", ErrorCode("Novelty", None)),
        (None, None),
        ("9" * 400, ErrorCode("9" * 400, None)),
        ([], None),
    ],
)
def test_an_unlisted_production_error_keeps_what_was_sent(
    sent: object, expected: ErrorCode | None
) -> None:
    read_ = notification("sending_ProductionError", ProductionErrorInfo={"ErrorCode": sent})
    assert isinstance(read_, SendingProductionError)
    assert read_.error.code == expected


def test_a_contact_s_null_values_are_none_and_its_own_fields_are_kept() -> None:
    created: ContactCreated = of_guide("contact_created")
    assert created.contact_data.created_at is None
    assert created.contact_data.is_active is None
    assert created.contact_data.key == "xxxxxx"
    assert created.contact_data.fields == {"f_FirstName": "FirstName", "f_LastName": "LastName"}


def test_opt_in_and_opt_out_list_their_fields() -> None:
    optin: ContactOptin = of_guide("contact_optin")
    assert [entry.name for entry in optin.fields] == ["infolettre", "infolettre2"]
    assert optin.is_active is True
    optout: ContactOptout = of_guide("contact_optout")
    assert optout.is_active is False


def test_optin_info_may_be_the_list_that_the_prose_speaks_of() -> None:
    fields = optin_info(news=1)["Fields"]
    for info in ({"Fields": fields}, {"fields": fields}, fields, {"Fields": fields[0]}):
        read_ = notification("contact_optout", OptinInfo=info)
        assert isinstance(read_, ContactOptout)
        assert [entry.name for entry in read_.fields] == ["news"]
    nothings: list[object] = [None, "x", [], [None, 1, "x", {}], {"Fields": {}}]
    for nothing in nothings:
        read_ = notification("contact_optout", OptinInfo=nothing)
        assert isinstance(read_, ContactOptout)
        assert read_.fields == ()


def test_a_complaint_carries_the_whole_report() -> None:
    complaint: ContactComplaint = of_guide("contact_complaint")
    assert "Removal-Recipient: user@example.com\r\n" in complaint.complaint.report
    assert "user@example.com" not in repr(complaint), "a log line must not show personal data"


def test_a_type_without_a_model_is_a_plain_notification_with_its_data() -> None:
    read_ = notification("contact_merged", Winner=2)
    assert type(read_) is Notification
    assert read_.data["Winner"] == 2


def test_keys_match_in_any_case_and_unknown_ones_are_kept() -> None:
    read_ = notification(
        "contact_quarantine", QUARANTINEINFO={"DtBounce": at(5), "DSNMTA": "mx", "Novelty": 1}
    )
    assert isinstance(read_, ContactQuarantine)
    assert read_.quarantine.mta == "mx"
    assert read_.event_time() == utc(5)
    assert read_.quarantine.model_extra == {"Novelty": 1}
    assert notification("contact_created").email("F_EMAIL") == "jo@example.com"


def test_objects_of_another_shape_are_empty() -> None:
    garbles: list[object] = [None, 1, "x", [], [{}], True]
    for garbled in garbles:
        read_ = notification("sending_Bounce", SendLog=garbled, DeliveryErrorInfo=garbled)
        assert isinstance(read_, SendingBounce)
        assert read_.error.code == ""
        assert read_.send_log.processed_at is None


def test_ids_are_the_same_as_text_and_as_number() -> None:
    assert notification("contact_created", contact=7).contact == "7"
    assert notification("contact_created", contact=" 7 ").contact == "7"
    assert notification("contact_created", contact=None).contact == ""
    assert notification("contact_created", contact=True).contact == ""


def test_a_composite_key_without_an_address_has_none() -> None:
    read_ = notification("contact_optout", ContactID={"idContact": 1, "f_Card": 12, "f_Shop": "A"})
    assert read_.contact_fields == {"f_Card": 12, "f_Shop": "A"}
    assert read_.email("f_EMail") is None


def test_an_address_may_come_from_the_contact_s_data() -> None:
    read_ = notification("contact_created", email=None, ContactData={"f_EMail": " a@b.c "})
    assert read_.email("f_EMail") == "a@b.c"
    assert notification("contact_created", email=" ").email("f_EMail") is None


def test_an_element_without_an_id_has_the_source_s() -> None:
    made = message(b'[{"type":"contact_optout"}]')
    assert read(made).id == made.text(wire.CE_ID) != ""


def test_a_message_without_headers_is_read_from_its_body() -> None:
    body = b'{"Type":"contact_optout","EventUniqueID":"e7","idProject":3}'
    read_ = read(Message(topic="t", key=b"k", body=body, headers=()))
    assert isinstance(read_, ContactOptout)
    assert (read_.id, read_.project, read_.received_at) == ("e7", "3", UNKNOWN_TIME)


def test_a_replay_is_marked() -> None:
    made = message(b'[{"type":"contact_optout"}]')
    headers = (*made.headers, (wire.REPLAYED_TIME, b"2026-09-01T00:00:00Z"))
    assert read(Message(topic="t", key=b"k", body=made.body, headers=headers)).replayed


# Dates


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("2016.09.19 10:54:49-04:00", (14, 54, 49)),
        ("2016.9.19 10:54:49-04:00", (14, 54, 49)),
        ("2016-09-19T10:54:49-04:00", (14, 54, 49)),
        ("2016-09-19 10:54:49 -0400", (14, 54, 49)),
        (" 2016.09.19 14:54:49Z ", (14, 54, 49)),
        ("2016.09.19 14:54:49.25+00:00", (14, 54, 49)),
    ],
)
def test_a_date_is_read_with_its_offset(sent: str, expected: tuple[int, int, int]) -> None:
    parsed = SenderTime.parse(sent)
    assert parsed is not None
    assert parsed.text == sent
    assert parsed.utc is not None
    assert parsed.utc.replace(microsecond=0) == datetime(2016, 9, 19, *expected, tzinfo=UTC)


@pytest.mark.parametrize(
    "sent",
    ["2016.09.19 10:54:49", "2016.09.19", "yesterday", "2016.13.01 00:00:00Z",
     "0001.01.01 00:00:00+14:00", "9999.12.31 23:59:59-12:00", "2016.09.19 10:54:49+25:00"],
)  # fmt: skip
def test_a_date_without_offset_or_sense_keeps_its_text_only(sent: str) -> None:
    assert SenderTime.parse(sent) == SenderTime(sent, None)


def test_no_date_is_none() -> None:
    nothings: list[object] = [None, "", " ", 1, [], True]
    assert [SenderTime.parse(value) for value in nothings] == [None] * 6


def test_the_event_time_of_a_consent_is_the_date_of_its_field() -> None:
    read_ = notification("contact_optout", minutes=9, OptinInfo=optin_info(a=1, b=3, c=None))
    assert read_.event_time("a") == utc(1)
    assert read_.event_time("b") == utc(3)
    assert read_.event_time("c") == utc(9), "a null date falls back to dtExecution"
    assert read_.event_time("absent") == utc(9)
    assert read_.event_time() == utc(3), "without a field: the latest of them"


def test_the_event_time_of_a_contact_is_its_modification_else_its_creation() -> None:
    def time(type_: str, **data: str | None) -> datetime:
        return notification(type_, minutes=9, ContactData=data).event_time()

    assert time("contact_created", dtCreated=at(1), dtModified=at(2)) == utc(2)
    assert time("contact_created", dtCreated=at(1), dtModified=None) == utc(1)
    assert time("contact_created") == utc(9)
    assert time("contact_modified", dtCreated=at(1), dtModified=at(2)) == utc(2)
    assert time("contact_modified", dtCreated=at(1)) == utc(9), "not older than earlier changes"


def test_a_date_without_offset_does_not_decide() -> None:
    info = {"Fields": [{"OptinField": "a", "OptinDate": "2026.08.01 23:00:00"}]}
    assert notification("contact_optin", minutes=4, OptinInfo=info).event_time("a") == utc(4)


def test_without_any_date_the_time_of_reception_decides() -> None:
    assert notification("contact_complaint", dtExecution=None).event_time() == RECEIVED


def test_a_date_in_the_future_is_not_believed() -> None:
    def opted_in(date: datetime) -> datetime:
        text = date.strftime("%Y.%m.%d %H:%M:%S+00:00")
        info = {"Fields": [{"OptinField": "a", "OptinDate": text}]}
        return notification("contact_optin", OptinInfo=info).event_time("a")

    assert opted_in(RECEIVED + timedelta(hours=1)) == RECEIVED + timedelta(hours=1)
    assert opted_in(RECEIVED + timedelta(days=400)) == RECEIVED


def test_order_compares_event_time_then_execution_then_id() -> None:
    orders = [
        notification("contact_optout", id_, minutes=minutes, OptinInfo=optin_info(a=date)).order(
            "a"
        )
        for id_, minutes, date in (("a", 5, 1), ("b", 5, 1), ("a", 6, 1), ("a", 0, 2))
    ]
    assert orders == sorted(orders)


# Bodies that want to break the reader


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        (b"", "not JSON"),
        (b"nonsense", "not JSON"),
        (b"[]", "not an object but list"),
        (b"\xff{}", "not UTF-8 at byte 0"),
        (b'{"a":NaN}', "NaN is no number"),
        (b'{"a":-Infinity}', "-Infinity is no number"),
        (b'{"a":%s}' % (b"1" * 5000), "not JSON"),
        (b'{"a":%s}' % (b"[" * 200 + b"]" * 200), "nested deeper"),
        (b'{"a":%s}' % (b"[" * 200_000 + b"]" * 200_000), "nested deeper"),
        (b'{"a":%s1%s}' % (b'{"a":' * 200_000, b"}" * 200_000), "nested deeper"),
    ],
)
def test_what_cannot_be_read_says_why(body: bytes, reason: str) -> None:
    with pytest.raises(Undecodable, match=reason):
        read(raw(body))


def test_what_can_just_be_read_is_read() -> None:
    assert read(raw(b"\xef\xbb\xbf{}")).data == {}
    assert read(raw(b'{"idProject":1,"idProject":2}')).project == "2", "the last wins"
    assert read(raw(b'{"idProject":%s}' % (b"9" * 400))).project == "9" * 400
    assert read(raw(b'{"a":%s}' % (b"[" * 199 + b"]" * 199))).data["a"]


def test_what_no_database_can_store_is_replaced_and_the_rest_is_kept() -> None:
    body = rb'{"ContactID":{"idContact":"\ud800","f_EMail":"a\u0000b@c.d"},"\udfff":["\uDC00x"]}'
    read_ = read(raw(body))
    assert read_.contact == "\ufffd"
    assert read_.email("f_EMail") == "a\ufffdb@c.d"
    assert read_.data["\ufffd"] == ["\ufffdx"]
    assert read(raw(rb'{"idProject":"\ud83d\ude00"}')).project == "\U0001f600", "a pair is whole"


def test_a_heavy_body_of_many_openings_that_is_not_deep_is_read() -> None:
    body = json.dumps({"a": [[], {}] * 5000}).encode()
    assert len(read(raw(body)).data["a"]) == 10_000


@settings(deadline=None)
@given(st.binary())
def test_any_bytes_are_read_or_undecodable(body: bytes) -> None:
    with contextlib.suppress(Undecodable):
        read(raw(body))


_JSON = st.recursive(
    st.none()
    | st.booleans()
    | st.integers()
    | st.floats(allow_nan=False, allow_infinity=False)
    | st.text()
    | st.sampled_from(["\x00", "\ud800", "x\udfff", "true", "1", "2016.09.19 10:54:49-04:00"]),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(), inner, max_size=3),
    max_leaves=8,
)
_KEYS = st.sampled_from(
    [
        "type",
        "ContactID",
        "idContact",
        "f_EMail",
        "OptinInfo",
        "Fields",
        "OptinField",
        "OptinDate",
        "dtExecution",
        "SendLog",
        "DeliveryErrorInfo",
        "BounceCode",
        "isInvalidMailbox",
        "isActive",
        "ContactData",
        "dtModified",
        "dtCreated",
        "QuarantineInfo",
        "dtBounce",
        "ComplaintInfo",
        "FBL_Report",
        "ProductionErrorInfo",
        "ErrorCode",
        "EventUniqueID",
        "idProject",
        "id",
        "data",
        "message",
    ]
)
_OBJECTS = st.dictionaries(_KEYS, _JSON | st.dictionaries(_KEYS, _JSON, max_size=4), max_size=6)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(_OBJECTS, st.sampled_from((*KNOWN_TYPES, "novelty")))
def test_any_object_is_read_and_can_be_stored(body: dict[str, Any], type_: str) -> None:
    read_ = read(raw(json.dumps(body).encode(), type_))
    assert read_.type == type_
    assert read_.event_time().tzinfo is UTC
    assert read_.order() is not None
    json.dumps(read_.data, ensure_ascii=False).encode()
    for text in (read_.id, read_.company, read_.project, read_.contact, read_.email("f_EMail")):
        assert "\x00" not in (text or "").encode().decode()


def test_a_number_past_the_range_of_a_float_stays_text() -> None:
    found = Message(
        topic="notifications.contact_optout",
        key=b"1|1",
        body=b'{"type": "contact_optout", "f_Points": 1e999, "f_Few": 1e3}',
        headers=((wire.CE_ID, b"a"), (wire.CE_TYPE, b"contact_optout")),
    )

    assert read(found).data["f_Points"] == "1e999"
    assert read(found).data["f_Few"] == 1000.0
