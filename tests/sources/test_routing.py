"""Which topic, key and headers a notification gets."""

import json
from typing import TYPE_CHECKING, Any

import pytest
from cloudevents.core.bindings.kafka import KafkaMessage, from_binary
from cloudevents.core.formats.json import JSONFormat
from cloudevents.core.v1.event import CloudEvent

from bridge.message import (
    CE_ID,
    CE_PARTITIONKEY,
    CE_RECEIVEDTIME,
    CE_SOURCE,
    CE_SPECVERSION,
    CE_SUBJECT,
    CE_TEST,
    CE_TIME,
    CE_TYPE,
    CONTENT_TYPE,
    Message,
)
from bridge.sources.dialog_insight import DialogInsight
from bridge.sources.samples import notification, sample
from bridge.topics import KNOWN_TYPES
from tests.sources.posting import (
    HAPPENED,
    TOPICS,
    encoded,
    opt_out,
    post,
    post_one,
    sha256,
    without,
)

if TYPE_CHECKING:
    from bridge.sources.base import Source


def test_it_is_a_source() -> None:
    source: Source = DialogInsight(TOPICS)
    assert source.name == "dialog-insight"


@pytest.mark.parametrize("type_", KNOWN_TYPES)
def test_each_sample_of_the_guide_as_it_stands_is_one_test_notification(type_: str) -> None:
    body = sample(type_)

    [message] = post(body)

    assert message.topic == TOPICS.test
    assert message.is_test
    assert message.text(CE_TYPE) == type_
    assert message.key == b"1234|1"
    assert message.body == body.strip()[1:-1].strip()


@pytest.mark.parametrize("type_", KNOWN_TYPES)
def test_each_real_notification_goes_to_the_topic_of_its_type(type_: str) -> None:
    message = post_one(notification(type_, id="a", at=HAPPENED, test=False))

    assert message.topic == f"notifications.{type_}"
    assert not message.is_test


def test_a_notification_carries_exactly_these_headers() -> None:
    element = opt_out()

    message = post_one(element)

    assert dict(message.headers) == {
        CE_SPECVERSION: b"1.0",
        CE_ID: b"opt-out",
        CE_SOURCE: b"/dialog-insight/1/1234",
        CE_TYPE: b"contact_optout",
        CE_TIME: b"2016-09-19T10:54:49-04:00",
        CE_SUBJECT: b"77",
        CE_PARTITIONKEY: b"1234|77",
        CE_RECEIVEDTIME: b"2026-11-24T10:30:00.125000Z",
        CONTENT_TYPE: b"application/json",
    }
    assert len(message.headers) == len(dict(message.headers))
    assert message.key == b"1234|77"
    assert message.body == encoded(element)


def test_a_test_notification_carries_its_mark_besides() -> None:
    message = post_one(opt_out(isTest=True))

    assert dict(message.headers)[CE_TEST] == b"true"


def test_a_listed_extra_type_has_a_topic_of_its_own() -> None:
    assert post_one(opt_out(type="contact_merged")).topic == "notifications.contact_merged"


@pytest.mark.parametrize(
    "type_", ["contact_click", "Contact_Optout", "contact_optout ", "été", "."]
)
def test_other_types_go_to_unknown_with_their_type_as_sent(type_: str) -> None:
    message = post_one(opt_out(type=type_))

    assert message.topic == TOPICS.unknown
    assert message.text(CE_TYPE) == type_


@pytest.mark.parametrize("mark", [None, False, 0, 0.0, -0.0, "false", "False", "FALSE"], ids=repr)
def test_these_marks_mean_real(mark: Any) -> None:
    message = post_one(opt_out(isTest=mark))

    assert message.topic == "notifications.contact_optout"
    assert not message.is_test


@pytest.mark.parametrize(
    "mark",
    [True, "true", "True", 1, -1, 0.5, 1e300, "", "0", "no", " false", "yes", [], {}, [False]],
    ids=repr,
)
@pytest.mark.parametrize("type_", ["contact_optout", "contact_click"])
def test_any_other_mark_means_test_whatever_the_type(mark: Any, type_: str) -> None:
    message = post_one(opt_out(isTest=mark, type=type_))

    assert message.topic == TOPICS.test
    assert message.is_test


@pytest.mark.parametrize("name", ["IsTest", "istest", "ISTEST"])
def test_a_test_mark_in_another_casing_still_means_test(name: str) -> None:
    assert post_one(opt_out(**{name: True})).topic == TOPICS.test
    assert post_one(opt_out(**{name: False})).topic == "notifications.contact_optout"


def test_an_escaped_name_is_the_same_name() -> None:
    element = encoded(opt_out(isTest=True)).replace(b'"isTest"', b'"is\\u0054est"')

    assert post_one(element).topic == TOPICS.test


def test_the_last_of_duplicate_keys_routes() -> None:
    element = (
        b'{"type":"contact_optin","type":"contact_optout","isTest":true,"isTest":false,'
        b'"EventUniqueID":5,"EventUniqueID":"b","idProject":1,"idProject":2,"idCompany":1,'
        b'"ContactID":{"idContact":1},"ContactID":{"idContact":2,"idContact":3}}'
    )

    message = post_one(element)

    assert message.topic == "notifications.contact_optout"
    assert message.header(CE_ID) == b"b"
    assert message.key == b"2|3"
    assert message.body == element


@pytest.mark.parametrize("name", ["Type", "TYPE", "tYPE"])
def test_the_type_may_be_spelled_as_in_the_prose_of_the_guide(name: str) -> None:
    message = post_one(without("type") | {name: "contact_optout"})

    assert message.topic == "notifications.contact_optout"
    assert message.text(CE_TYPE) == "contact_optout"


def test_the_spelling_of_the_samples_comes_before_any_other() -> None:
    assert post_one(opt_out(Type="contact_optin", TYPE="x")).text(CE_TYPE) == "contact_optout"
    assert post_one({"Type": "a"} | opt_out(type=None)).text(CE_TYPE) == "a"
    assert post_one({"TYPE": "a", "Type": "b", "tYPE": "c"}).text(CE_TYPE) == "b"


def test_names_in_other_casings_are_read_alike() -> None:
    element = opt_out()
    renamed = {name.lower(): value for name, value in element.items()}
    renamed["contactid"] = {"IDCONTACT": 77}

    message, usual = post_one(renamed), post_one(element)

    assert message.key == usual.key
    assert sorted(message.headers) == sorted(usual.headers)


@pytest.mark.parametrize("code", ["NoContent", 103])
def test_an_error_code_may_be_a_name_or_a_number(code: str | int) -> None:
    element = notification("sending_ProductionError", id="a", at=HAPPENED, test=False)
    element["ProductionErrorInfo"]["ErrorCode"] = code

    assert post_one(element).topic == "notifications.sending_ProductionError"


def test_null_dates_are_no_obstacle() -> None:
    element = opt_out(dtExecution=None)
    element["OptinInfo"]["Fields"][0]["OptinDate"] = None

    message = post_one(element)

    assert message.topic == "notifications.contact_optout"
    assert message.header(CE_TIME) is None


def test_a_composite_contact_key_without_an_address_is_enough() -> None:
    message = post_one(opt_out(ContactID={"f_Store": "Lévis", "f_Card": 12, "idContact": 9}))

    assert message.key == b"1234|9"
    assert message.header(CE_SUBJECT) == b"9"


def test_a_complaint_with_its_whole_report_is_kept_to_the_byte() -> None:
    element = json.loads(sample("contact_complaint"))[0]
    element["ComplaintInfo"]["FBL_Report"] += 'Spam é 😀 [{}],\\"\r\n' * 100

    assert post_one(element).body == encoded(element)


def _parsed(message: Message) -> CloudEvent:
    raw = KafkaMessage(headers=dict(message.headers), key=message.key, value=message.body)
    event = from_binary(raw, JSONFormat())
    assert isinstance(event, CloudEvent)
    return event


def test_the_cloudevents_sdk_reads_a_notification() -> None:
    event = _parsed(post_one(opt_out()))

    assert event.get_id() == "opt-out"
    assert event.get_time() == HAPPENED
    assert event.get_subject() == "77"
    assert event.get_extension("partitionkey") == "1234|77"
    assert event.get_data() == opt_out()


def test_the_cloudevents_sdk_reads_what_is_malformed() -> None:
    [message] = post(b"\xffnot json")

    event = _parsed(message)

    assert event.get_type() == "malformed"
    assert event.get_source() == "/dialog-insight"
    assert event.get_id().encode() == message.key == sha256(b"\xffnot json")
    assert event.get_extension("malformedreason") == "not-utf-8"
    assert event.get_data() == b"\xffnot json"
