"""The message: its headers as everybody reads them."""

from __future__ import annotations

import pytest

from bridge.message import (
    CE_ID,
    CE_TEST,
    CE_TYPE,
    DEAD_HEADERS,
    MAX_ELEMENT_BYTES,
    MAX_LARGE_MESSAGE_BYTES,
    MAX_MESSAGE_BYTES,
    REPLAYED_TIME,
    Message,
)


def message(*headers: tuple[str, bytes]) -> Message:
    return Message("notifications.contact_optin", b"2|3", b"{}", headers)


def test_a_header_is_found_by_name() -> None:
    one = message((CE_ID, b"e-1"), (CE_TYPE, b"contact_optin"))

    assert one.header(CE_TYPE) == b"contact_optin"
    assert one.header("other") is None
    assert one.text(CE_ID) == "e-1"
    assert one.text("other") == ""


def test_an_empty_header_is_there() -> None:
    assert message((CE_ID, b"")).header(CE_ID) == b""


def test_bytes_that_are_no_text_do_not_raise() -> None:
    assert message((CE_ID, b"\xff1")).text(CE_ID) == "\ufffd1"


def test_only_the_mark_makes_a_test() -> None:
    assert message((CE_TEST, b"true")).is_test
    assert not message((CE_TYPE, b"test")).is_test


def test_a_message_cannot_be_changed() -> None:
    with pytest.raises(AttributeError):
        message().body = b"other"  # type: ignore[misc]  # that is the point


def test_the_largest_element_fits_an_ordinary_topic_with_its_headers() -> None:
    assert MAX_ELEMENT_BYTES + 32 * 1024 < MAX_MESSAGE_BYTES
    assert MAX_LARGE_MESSAGE_BYTES > 8 * 1024 * 1024 + 32 * 1024


def test_a_replay_takes_off_what_a_dead_letter_put_on_and_keeps_its_own_mark() -> None:
    assert REPLAYED_TIME not in DEAD_HEADERS
    assert all(name.startswith("bridge_") for name in DEAD_HEADERS)
