"""One form of an e-mail address, so that its spellings are one key. For matching only."""

import unicodedata
from contextlib import suppress
from typing import Final

import idna

_MAX_ADDRESS: Final = 1000  # characters; RFC 5321 allows 254, and longer text costs time only
_MAX_DOMAIN: Final = 253  # characters (RFC 1035); a longer one is no domain and not worth encoding


def normalise(address: str) -> str:
    """The address as a key: domain in lower case and IDNA, local part in lower case.

    Local parts are case-sensitive by the letter of RFC 5321, but no mailbox of a real person
    hides behind the difference, and a block must not be escaped by a capital letter. Text that
    is no address, such as another key field of the project, is only lower-cased.
    """
    if len(address) > _MAX_ADDRESS:
        return _folded(address.strip())
    before, after = None, address
    while after != before:  # so that the form of a form is itself, whatever the text
        before, after = after, _step(after)
    return after


def _step(address: str) -> str:
    local, at, domain = address.strip().rpartition("@")
    if not at:
        return _folded(domain)
    return f"{_folded(local)}@{_domain(domain)}"


def _folded(text: str) -> str:
    return unicodedata.normalize("NFC", unicodedata.normalize("NFC", text).lower())


def _domain(text: str) -> str:
    domain = text
    if not domain.isascii() and len(domain) <= _MAX_DOMAIN:
        with suppress(idna.IDNAError):  # no such domain can exist: any stable form will do
            domain = idna.encode(domain, uts46=True).decode("ascii")
    return _folded(domain).rstrip(".")
