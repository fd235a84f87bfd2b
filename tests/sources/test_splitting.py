"""Which bytes become an element, and what is malformed, whole or in part."""

from datetime import UTC, datetime
from typing import Final

import pytest

from bridge.message import (
    CE_ID,
    CE_MALFORMEDREASON,
    CE_PARTITIONKEY,
    CE_RECEIVEDTIME,
    CE_SOURCE,
    CE_SPECVERSION,
    CE_TYPE,
    CONTENT_TYPE,
    MAX_ELEMENT_BYTES,
)
from bridge.sources.dialog_insight import DialogInsight
from bridge.sources.json_scanner import MAX_CONTAINERS, MAX_DEPTH, MAX_DIGITS, MAX_ELEMENTS
from tests.sources.posting import RECEIVED, TOPICS, encoded, opt_out, post, reason, sha256

GOOD: Final = encoded(opt_out())
OTHER: Final = encoded(opt_out(type="contact_optin", EventUniqueID="other"))
BOM: Final = b"\xef\xbb\xbf"


def nested(depth: int) -> bytes:
    """A notification whose own object is the first of so many levels."""
    return b'{"type":"contact_optout","deep":' + b"[" * (depth - 1) + b"]" * (depth - 1) + b"}"


def sized(size: int) -> bytes:
    """A notification of so many bytes."""
    return b'{"type":"contact_optout","pad":"%b"}' % (b"x" * (size - 34))


BROKEN: Final = {
    "surrogate as UTF-8": (b'{"type":"a","x":"\xed\xa0\x80"}', "not-utf-8"),
    "Latin-1": (b'{"type":"contact_optout","x":"\xe9t\xe9"}', "not-utf-8"),
    "Latin-1 before a quote": (b'{"type":"contact_optout","x":"caf\xe9"}', "not-utf-8"),
    "overlong UTF-8": (b'{"type":"a","x":"\xc0\xaf"}', "not-utf-8"),
    "NaN": (b'{"type":"contact_optout","x":NaN}', "not-json"),
    "Infinity": (b'{"type":"contact_optout","x":-Infinity}', "not-json"),
    "leading zero": (b'{"type":"a","x":01}', "not-json"),
    "control character": (b'{"type":"a","x":"\x01"}', "not-json"),
    "line break in a text": (b'{"type":"a","x":"a\nb"}', "not-json"),
    "trailing comma": (b'{"type":"a",}', "not-json"),
    "single quotes": (b"{'type':'a'}", "not-json"),
    "wrong bracket": (b'{"type":"a"]', "not-json"),
    "bad escape": (b'{"type":"a","x":"\\x"}', "not-json"),
    "two unescaped quotes": (b'{"type":"a","x":"he said "hi" to us"}', "not-json"),
    "no comma between two": (b'{"type":"a"} {"type":"b"}', "not-json"),
    "form feed": (b"\x0c", "not-json"),
    "bare word": (b"undefined", "not-json"),
    "past the depth": (nested(MAX_DEPTH + 1), "too-deep"),
    "far past the depth": (nested(5000), "too-deep"),
    "past the size": (sized(MAX_ELEMENT_BYTES + 1), "too-large"),
    "long number": (b'{"type":"a","x":%b}' % (b"9" * (MAX_DIGITS + 1)), "number-too-long"),
    "long fraction": (b'{"type":"a","x":0.%b}' % (b"3" * 5000), "number-too-long"),
    "no type": (b"{}", "no-type"),
    "null type": (b'{"type":null}', "no-type"),
    "empty type": (b'{"type":"","Type":"contact_optout"}', "no-type"),
    "blank type": (b'{"type":" \\t"}', "no-type"),
    "number as type": (b'{"type":5}', "no-type"),
    "object as type": (b'{"type":{"type":"a"}}', "no-type"),
    "control character in the type": (b'{"type":"a\\nb"}', "no-type"),
    "long type": (b'{"type":"%b"}' % (b"a" * 201), "no-type"),
    "number": (b"5", "not-an-object"),
    "text": (b'"contact_optout"', "not-an-object"),
    "null": (b"null", "not-an-object"),
    "array": (b'[{"type":"contact_optout"}]', "not-an-object"),
}
WHOLE: Final = {
    "nothing": (b"", "not-json"),
    "white space": (b" \r\n", "not-json"),
    "only a BOM": (BOM, "not-json"),
    "text": (b"hello", "not-json"),
    "a form": (b"payload=%5B%7B%7D%5D", "not-json"),
    "NUL": (b"\x00", "not-json"),
    "number": (b"5", "not-an-object"),
    "JSON text": (b'"hello"', "not-an-object"),
    "null": (b" null ", "not-an-object"),
    "UTF-16 with a BOM": (f"[{GOOD.decode()}]".encode("utf-16"), "not-utf-8"),
    "UTF-16 LE": (f"[{GOOD.decode()},{GOOD.decode()}]".encode("utf-16-le"), "not-json"),
    "UTF-16 BE": (f"[{GOOD.decode()},{GOOD.decode()}]".encode("utf-16-be"), "not-json"),
    "UTF-32": (f"[{GOOD.decode()}]".encode("utf-32"), "not-utf-8"),
    "gzip": (b"\x1f\x8b\x08\x00abc", "not-utf-8"),
    "two BOMs": (BOM + BOM + b"[" + GOOD + b"]", "not-json"),
    "cut": (b"[" + GOOD + b"," + OTHER[:-9], "not-json"),
    "cut after an element": (b"[" + GOOD, "not-json"),
    "cut in an escape": (b"[" + GOOD + b',{"a":"\\', "not-json"),
    "cut inside a character": (b"[" + GOOD + b',{"a":"\xc3', "not-utf-8"),
    "an element never closed": (b'[{"type":"a",' + GOOD + b"," + OTHER + b"]", "not-json"),
    "a text never closed": (b'[{"type":"a},' + GOOD.replace(b'"', b"") + b"]", "not-json"),
    "a bracket too many": (b"[" + GOOD + b"}," + OTHER + b"]", "not-json"),
    "a good element, then one never closed": (b"[" + GOOD + b",[" + OTHER + b"]", "not-json"),
    "closed by a brace": (b"[" + GOOD + b"," + OTHER + b"}", "not-json"),
    "two arrays": (b"[" + GOOD + b"][" + OTHER + b"]", "not-json"),
    "two objects": (GOOD + b"\n" + OTHER, "not-json"),
    "something after": (b"[" + GOOD + b"] x", "not-json"),
    "something before": (b"x[" + GOOD + b"]", "not-json"),
    "commas only": (b"[,]", "not-json"),
    "too many": (b"[" + b",".join([GOOD] * (MAX_ELEMENTS + 1)) + b"]", "too-many-elements"),
    "too many and one broken": (
        b"[NaN," + b",".join([GOOD] * MAX_ELEMENTS) + b"]",
        "too-many-elements",
    ),
    "too complex": (
        b"[" + GOOD + b',{"type":"a","x":[' + b"[]," * MAX_CONTAINERS + b"0]}]",
        "too-complex",
    ),
}


@pytest.mark.parametrize("body", [b"[]", b" [ ] ", BOM + b"[\r\n]\r\n"])
def test_an_empty_array_is_nothing(body: bytes) -> None:
    assert list(post(body)) == []


def test_each_element_is_one_message_in_order_without_the_white_space_around_it() -> None:
    messages = post(b" [\r\n\t" + GOOD + b" ,\n" + OTHER + b"\n,{}\t]\n")

    assert [message.body for message in messages] == [GOOD, OTHER, b"{}"]
    assert [message.topic for message in messages] == [
        "notifications.contact_optout",
        "notifications.contact_optin",
        TOPICS.malformed,
    ]


@pytest.mark.parametrize("around", [b"%b", b" \n%b\t", BOM + b"%b", BOM + b" %b"])
def test_an_object_in_place_of_the_array_is_one_notification(around: bytes) -> None:
    [message] = post(around % GOOD)

    assert message.body == GOOD
    assert message.topic == "notifications.contact_optout"


def test_a_byte_order_mark_before_the_array_belongs_to_no_element() -> None:
    assert [message.body for message in post(BOM + b"[" + GOOD + b"]")] == [GOOD]
    assert [message.body for message in post(BOM + b"[" + GOOD + b",NaN]")] == [GOOD, b"NaN"]


@pytest.mark.parametrize("name", BROKEN)
@pytest.mark.parametrize("form", [b"[%b,%b,%b]", b"\n[ %b\n,\n%b\t, %b ]\r\n"])
def test_of_an_array_only_the_broken_element_is_malformed(name: str, form: bytes) -> None:
    element, why = BROKEN[name]

    before, broken, after = post(form % (GOOD, element, OTHER))

    assert (before.topic, before.body) == ("notifications.contact_optout", GOOD)
    assert (after.topic, after.body) == ("notifications.contact_optin", OTHER)
    assert broken.body == element
    assert reason(broken) == why


def test_several_broken_elements_are_malformed_each_for_its_own_reason() -> None:
    elements = [element for element, _ in BROKEN.values()]

    messages = post(b"[" + b",".join(elements) + b"]")

    assert [message.body for message in messages] == elements
    assert [reason(message) for message in messages] == [why for _, why in BROKEN.values()]


@pytest.mark.parametrize(
    "element",
    [
        rb'{"type":"contact_optout","x":"\ud800"}',
        rb'{"type":"contact_optout","x":"\uD800 more"}',
        rb'{"type":"contact_optout","x":"\ude00\ud83d"}',
        rb'{"type":"contact_optout","\udfff":1}',
        rb'{"type":"contact_optout","x":"\\\ud800"}',
    ],
)
def test_a_lone_surrogate_is_json_and_costs_no_opt_out(element: bytes) -> None:
    good = b'{"type":"contact_created"}'

    messages = post(b"[" + good + b"," + element + b"]")

    assert [message.topic for message in messages] == [
        "notifications.contact_created",
        "notifications.contact_optout",
    ]
    assert messages[1].body == element
    assert messages[1].text("ce_id") == sha256(element).decode()


def test_surrogates_in_the_envelope_are_replaced_and_pairs_are_kept() -> None:
    element = rb'{"type":"contact_optout","EventUniqueID":"a\ud83d\ude00\ud83d\\ud800"}'

    [message] = post(b"[" + element + b"]")

    assert message.text("ce_id") == "a\U0001f600\ufffd\\ud800"


@pytest.mark.parametrize("name", WHOLE)
def test_what_cannot_be_split_is_one_malformed_message_to_the_byte(name: str) -> None:
    body, why = WHOLE[name]

    [message] = post(body)

    assert message.body == body
    assert reason(message) == why


def test_what_is_malformed_is_identified_by_its_bytes() -> None:
    [message] = post(b"hello")

    digest = sha256(b"hello")
    assert message.topic == TOPICS.malformed
    assert message.key == digest
    assert dict(message.headers) == {
        CE_SPECVERSION: b"1.0",
        CE_ID: digest,
        CE_SOURCE: b"/dialog-insight",
        CE_TYPE: b"malformed",
        CE_MALFORMEDREASON: b"not-json",
        CE_PARTITIONKEY: digest,
        CE_RECEIVEDTIME: b"2026-11-24T10:30:00.125000Z",
        CONTENT_TYPE: b"application/octet-stream",
    }


@pytest.mark.parametrize(
    "element",
    [
        nested(MAX_DEPTH),
        sized(MAX_ELEMENT_BYTES),
        b'{"type":"contact_optout","x":%b}' % (b"9" * MAX_DIGITS),
        b'{"type":"contact_optout","x":%b}' % (b"9" * 400),
        b'{"type":"contact_optout","x":1e999}',
        b'{"type":"contact_optout","x":"%b"}' % (b"9" * (MAX_DIGITS + 1)),
        b'{"type":"contact_optout","x":"\\"%b"}' % (b"9" * (MAX_DIGITS + 1)),
        b'{"type":"contact_optout","x":"%b"}' % (b"[{" * 300),
        b'{"type":"contact_optout","x":["%b"]}' % (b'","'.join([b'\\\\[\\"'] * 300)),
        b'{"type":"contact_optout","x":[%b]}' % b",".join([b'[{"a":[]}]'] * 300),
        '{"type":"contact_optout","x":"\\ud83d\\ude00 😀 \\u0000"}'.encode(),
    ],
    ids=lambda element: repr(element[:50]),
)
def test_what_a_reader_downstream_can_read_is_let_through(element: bytes) -> None:
    [message, _] = post(b"[" + element + b",null]")

    assert reason(message) == ""
    assert message.body == element


def test_a_thousand_elements_are_accepted() -> None:
    assert len(post(b"[" + b",".join([GOOD] * MAX_ELEMENTS) + b"]")) == MAX_ELEMENTS


def test_empty_places_between_commas_are_passed_over() -> None:
    messages = post(b"[" + GOOD + b",, " + OTHER + b",]")

    assert [message.body for message in messages] == [GOOD, OTHER]


def test_a_large_array_with_many_commas_is_split_all_the_same() -> None:
    # given more commas than the fast split is trusted with
    element = b'{"type":"contact_optout","x":["%b"]}' % (b",," * 1000)

    messages = post(b"[" + b" , ".join([element] * 100) + b"]")

    assert [message.body for message in messages] == [element] * 100
    assert {message.topic for message in messages} == {"notifications.contact_optout"}


def test_the_received_time_is_utc_whatever_the_clock_of_the_server() -> None:
    elsewhere = RECEIVED.astimezone(datetime.strptime("+0530", "%z").tzinfo)

    [message] = DialogInsight(TOPICS).messages(GOOD, elsewhere)

    assert message.text(CE_RECEIVEDTIME) == "2026-11-24T10:30:00.125000Z"
    assert RECEIVED.tzinfo is UTC
