"""What an answer of the CRM means."""

from datetime import UTC, datetime

import pytest

from consumers.consumer import Reject, Unavailable
from consumers.crm.answers import TryAgain, outcome, retry_after, words
from consumers.crm.profile import Answer

NOW = datetime(2026, 11, 24, 12, 0, 0, tzinfo=UTC)


def answer(status: int, *, body: bytes = b"", **headers: str) -> Answer:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    return Answer(status=status, headers=named, body=body)


@pytest.mark.parametrize("status", [200, 201, 202, 204, 207])
def test_any_2xx_is_done(status: int) -> None:
    assert outcome(answer(status), hide={}) is None


@pytest.mark.parametrize("status", [400, 404, 410, 413, 422, 451])
def test_what_is_wrong_with_the_contact_is_rejected(status: int) -> None:
    assert isinstance(outcome(answer(status), hide={}), Reject)


@pytest.mark.parametrize("status", [301, 302, 401, 402, 403, 405, 407, 415])
def test_wrong_access_or_address_holds_the_group_and_sets_nothing_aside(status: int) -> None:
    result = outcome(answer(status), hide={})

    assert isinstance(result, Unavailable)
    assert result.scope == "group"
    assert "BRIDGE_CRM_TOKEN" in result.reason


@pytest.mark.parametrize(("status", "scope"), [(429, "group"), (503, "group")])
def test_a_busy_crm_holds_the_group(status: int, scope: str) -> None:
    result = outcome(answer(status, retry_after="7"), hide={})

    assert isinstance(result, Unavailable)
    assert (result.scope, result.retry_after) == (scope, 7.0)


@pytest.mark.parametrize("status", [408, 500, 502, 504, 599])
def test_a_failing_crm_holds_the_partition(status: int) -> None:
    result = outcome(answer(status), hide={})

    assert isinstance(result, Unavailable)
    assert (result.scope, result.retry_after) == ("partition", None)


@pytest.mark.parametrize("status", [409, 412, 423, 425])
def test_a_conflict_is_tried_again(status: int) -> None:
    assert isinstance(outcome(answer(status), hide={}), TryAgain)


@pytest.mark.parametrize(
    ("text", "seconds"),
    [
        ("0", 0.0),
        ("120", 120.0),
        ("Tue, 24 Nov 2026 12:01:30 GMT", 90.0),
        ("Tue, 24 Nov 2026 12:01:30 -0000", 90.0),
        ("Tue, 24 Nov 2026 11:00:00 GMT", 0.0),  # in the past: now
        ("31536000", 3600.0),  # a year: capped
        ("Fri, 24 Nov 2226 12:00:00 GMT", 3600.0),
        ("", None),
        ("soon", None),
        ("-5", None),
        ("1.5", None),
        ("\u0663", None),  # a digit, but not of HTTP
        ("9" * 5000, 3600.0),
    ],
)
def test_retry_after_is_read_as_seconds_or_as_a_date(text: str, seconds: float | None) -> None:
    assert retry_after(answer(503, retry_after=text), now=NOW) == seconds


def test_a_rejection_quotes_the_crm_without_personal_data() -> None:
    body = '{"error": "Zo\\u00e9 <zoe@example.com> exists, was ZOÉ; see other@example.org"}'

    result = outcome(
        answer(422, body=body.encode()),
        hide={"f_FirstName": "Zoé", "f_EMail": "zoe@example.com"},
    )

    assert isinstance(result, Reject)
    assert result.reason == (
        'the CRM answered 422: {"error": "<f_FirstName> <<f_EMail>> exists, was <f_FirstName>; '
        'see <address>"}'
    )


def test_an_address_is_hidden_even_if_a_name_is_part_of_it() -> None:
    said = words(
        answer(400, body=b"bad: ann@example.com"),
        hide={"f_First": "ann", "f_EMail": "ann@example.com"},
    )

    assert said == "bad: <f_EMail>"


def test_a_long_binary_answer_becomes_one_short_line() -> None:
    said = words(answer(400, body=b"a\r\n\x00b" + b"\xff" * 5000), hide={})

    assert said.startswith("a b")
    assert len(said) == 300


def test_an_empty_answer_says_so() -> None:
    assert words(answer(400), hide={}) == "no reason given"
