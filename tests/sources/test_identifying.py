"""How ids, keys, sources and dates are read when they are not as in the samples."""

from typing import Any

import pytest

from bridge.message import CE_ID, CE_PARTITIONKEY, CE_SOURCE, CE_SUBJECT, CE_TIME
from tests.sources.posting import encoded, opt_out, post_one, reason, sha256, without

LONG = "9" * 400
ABSENT: list[Any] = [None, "", "  ", True, [], {}, ["a"]]


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        ("77cb9126-661a", b"77cb9126-661a"),
        (12, b"12"),
        (1.5, b"1.5"),
        (-3, b"-3"),
        ("é", "é".encode()),
    ],
)
def test_an_event_id_is_a_text_or_a_number(value: Any, expected: bytes) -> None:
    assert post_one(opt_out(EventUniqueID=value)).header(CE_ID) == expected


@pytest.mark.parametrize("value", [*ABSENT, "00000000-0000-0000-0000-000000000000"], ids=repr)
def test_without_a_usable_event_id_the_bytes_of_the_element_identify_it(value: Any) -> None:
    element = opt_out(EventUniqueID=value)

    assert post_one(element).header(CE_ID) == sha256(encoded(element))


def test_an_element_without_an_event_id_has_the_same_id_wherever_it_stands() -> None:
    element = without("EventUniqueID")

    assert post_one(element).header(CE_ID) == sha256(encoded(element))
    assert post_one(b" \n" + encoded(element) + b"\t ").header(CE_ID) == sha256(encoded(element))


@pytest.mark.parametrize(
    "value", ["a" * 201, "é" * 101, "a\nb", "a\x00", "a\x7f", "\u202ea", "x" * 250_000]
)
def test_an_id_that_no_header_should_carry_is_replaced_by_its_digest(value: str) -> None:
    digest = sha256(value.encode())

    message = post_one(
        opt_out(EventUniqueID=value, idProject=value, ContactID={"idContact": value})
    )

    assert message.header(CE_ID) == digest
    assert message.header(CE_SUBJECT) == digest
    assert message.key == message.header(CE_PARTITIONKEY) == digest + b"|" + digest
    assert message.header(CE_SOURCE) == b"/dialog-insight/1/" + digest


def test_a_number_of_400_digits_is_an_id_like_any_other() -> None:
    element = encoded(opt_out(ContactID={"idContact": int(LONG)}, idProject=int(LONG)))

    message = post_one(element)

    assert message.body == element
    assert message.key == sha256(LONG.encode()) + b"|" + sha256(LONG.encode())


@pytest.mark.parametrize(
    ("value", "expected"),
    [
        (2**63 - 1, b"9223372036854775807"),
        (2**63, b"9223372036854775808"),
        (-(2**63) - 1, b"-9223372036854775809"),
        ("77", b"77"),
        ("a|b", b"a|b"),
        (0, b"0"),
        (1.0, b"1.0"),
    ],
)
def test_a_contact_is_a_number_as_written_or_a_text(value: Any, expected: bytes) -> None:
    message = post_one(opt_out(ContactID={"idContact": value}))

    assert message.key == b"1234|" + expected
    assert message.header(CE_SUBJECT) == expected


def test_minus_zero_is_the_contact_zero_however_the_rest_is_read() -> None:
    usual = encoded(opt_out()).replace(b'"idContact": 77', b'"idContact": -0')
    unusual = usual.replace(b'"opt-out"', b"5")

    assert post_one(usual).key == post_one(unusual).key == b"1234|0"


@pytest.mark.parametrize("value", ABSENT, ids=repr)
def test_without_a_contact_the_event_id_is_the_key(value: Any) -> None:
    for element in (opt_out(ContactID={"idContact": value}), opt_out(ContactID=value)):
        message = post_one(element)

        assert message.key == b"opt-out"
        assert message.header(CE_SUBJECT) is None


def test_with_nothing_but_a_type_a_notification_is_still_stored() -> None:
    element = b'{"type":"contact_optout"}'

    message = post_one(element)

    assert message.topic == "notifications.contact_optout"
    assert message.key == message.header(CE_ID) == sha256(element)
    assert message.header(CE_SOURCE) == b"/dialog-insight/-/-"


def test_without_a_project_the_key_is_the_contact_alone() -> None:
    message = post_one(without("idProject"))

    assert message.key == b"|77"
    assert message.header(CE_SOURCE) == b"/dialog-insight/1/-"


@pytest.mark.parametrize(
    ("value", "expected"), [("a/b ?#é", b"a%2Fb%20%3F%23%C3%A9"), ("12", b"12"), (-1, b"-1")]
)
def test_the_source_is_a_uri_whatever_the_project_is(value: Any, expected: bytes) -> None:
    message = post_one(opt_out(idProject=value))

    assert message.header(CE_SOURCE) == b"/dialog-insight/1/" + expected


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("2016.09.19 10:54:49-04:00", "2016-09-19T10:54:49-04:00"),
        ("2016.09.19 10:54:49+00:00", "2016-09-19T10:54:49+00:00"),
        ("2016.09.19 10:54:49+0530", "2016-09-19T10:54:49+05:30"),
        ("2016.02.29 23:59:59.1234567Z", "2016-02-29T23:59:59.1234567Z"),
        ("2016-09-19T10:54:49-04:00", "2016-09-19T10:54:49-04:00"),
    ],
)
def test_the_time_is_the_senders_date_with_its_own_offset(text: str, expected: str) -> None:
    assert post_one(opt_out(dtExecution=text)).text(CE_TIME) == expected


@pytest.mark.parametrize(
    "value",
    [
        "2016.09.19 10:54:49",
        "2016.09.19",
        "2015.02.29 10:54:49-04:00",
        "2016.13.01 10:54:49-04:00",
        "2016.09.19 24:00:01-04:00",
        "2016.09.19 10:54:60-04:00",
        "2016.09.19 10:54:49-24:00",
        "2016.09.19 10:54:49-04:75",
        "0000.09.19 10:54:49-04:00",
        "\uff12016.09.19 10:54:49-04:00",
        "2016.09.19 10:54:49-04:00\n",
        "2016.09.19 10:54:49-04:00" + " " * 100_000,
        "yesterday",
        "",
        1474296889,
        None,
        {},
    ],
    ids=lambda value: repr(value)[:40],
)
def test_what_is_no_date_with_an_offset_gives_no_time(value: Any) -> None:
    message = post_one(opt_out(dtExecution=value))

    assert message.header(CE_TIME) is None
    assert reason(message) == ""
