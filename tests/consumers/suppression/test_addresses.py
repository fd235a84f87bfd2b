"""One form per mailbox."""

from __future__ import annotations

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from consumers.suppression.addresses import normalise


@pytest.mark.parametrize(
    ("one", "other"),
    [
        ("Jo.Doe@Example.COM", "jo.doe@example.com"),
        (" jo@example.com ", "jo@example.com"),
        ("jo@exämple.com", "jo@xn--exmple-cua.com"),
        ("jo@EXÄMPLE.com", "jo@XN--EXMPLE-CUA.com"),
        ("jo@straße.de", "jo@xn--strae-oqa.de"),
        ("jo@exa\u0308mple.com", "jo@exämple.com"),
        ("ÉLISE@example.com", "e\u0301lise@example.com"),
        ("jo@example.com.", "jo@example.com"),
        ("jo@ex。ample.com", "jo@ex.ample.com"),
    ],
)
def test_spellings_of_one_mailbox_are_one(one: str, other: str) -> None:
    assert normalise(one) == normalise(other)


@pytest.mark.parametrize(
    ("one", "other"),
    [("jo@example.com", "jo@example.org"), ("jo+a@example.com", "jo@example.com"),
     ("j.o@example.com", "jo@example.com"), ("jo@straße.de", "jo@strasse.de")],
)  # fmt: skip
def test_different_mailboxes_are_different(one: str, other: str) -> None:
    assert normalise(one) != normalise(other)


@pytest.mark.parametrize(
    ("sent", "expected"),
    [
        ("EMail", "email"),
        ("", ""),
        ("@", "@"),
        ("a@b@C.d", "a@b@c.d"),
        ('"A b"@c.d', '"a b"@c.d'),
        ("jo@[IPv6:FE80::1]", "jo@[ipv6:fe80::1]"),
        ("jo@-ä-.com", "jo@-ä-.com"),
        ("jo@c" + ". " * 400_000, ("jo@c" + ". " * 400_000).strip()),
        ("jo@" + "Ä" * 100_000, "jo@" + "ä" * 100_000),
    ],
)
def test_what_is_no_address_still_has_one_form(sent: str, expected: str) -> None:
    assert normalise(sent) == expected


@settings(deadline=None)
@given(st.text() | st.builds("{}@{}".format, st.text(), st.text()))
def test_the_form_of_a_form_is_itself(sent: str) -> None:
    once = normalise(sent)
    assert normalise(once) == once
    once.encode()
