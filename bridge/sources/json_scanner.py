"""Where the elements of a JSON array begin and end, also when one of them is broken.

The time of every function here grows linearly with its input, whatever a sender posts: the
regular expressions are possessive, and no byte is looked at from two beginnings.
"""

import re
from itertools import accumulate
from typing import Final

import msgspec

from bridge.sources.malformed import Malformed, Reason

MAX_ELEMENTS: Final = 1000
"""Elements in one array."""
MAX_CONTAINERS: Final = 100_000
"""Objects and arrays in one body. A notification has about five."""
MAX_DEPTH: Final = 200
"""Nesting of one element, its own object counted. Downstream readers give up just past it."""
MAX_DIGITS: Final = 4300
"""Digits in a row in a number. CPython and pydantic refuse longer integers."""

_LARGE_BODY: Final = 64 * 1024
"""Bytes. Smaller bodies cannot hold MAX_CONTAINERS or _FAST_SPLIT_COMMAS."""
_FAST_SPLIT_COMMAS: Final = 100_000
"""The fast split makes one object per element before they can be counted: this bounds memory."""
_UTF_8_BOM: Final = b"\xef\xbb\xbf"
_WHITESPACE: Final = b" \t\r\n"
_OPENING: Final = frozenset(b"[{")
_COMMA: Final = ord(",")
_NOT_BRACKETS: Final = bytes(byte for byte in range(256) if byte not in b"[]{}")
_STEP: Final = tuple((byte in b"[{") - (byte in b"]}") for byte in range(256))

# An unterminated string reaches to the end, or each of its quotes would be tried as a beginning.
# No turn of a possessive repeat may consume and then fail: before 3.11.5 that leaves `re` astray.
_STRING: Final = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+(?:"|\\?\Z)'
_TO_BRACKET: Final = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb")*+", re.DOTALL)
_TO_BRACKET_OR_COMMA: Final = re.compile(rb'(?:[^"\[\]{},]++|' + _STRING + rb")*+", re.DOTALL)
_BETWEEN_BRACKETS: Final = re.compile(rb'(?:[^"\[\]{}]++|' + _STRING + rb")++", re.DOTALL)
_STRINGS: Final = re.compile(rb"(?:" + _STRING + rb'[^"0-9]*+)++', re.DOTALL)
_DIGITS_AS_ZEROS: Final = bytes.maketrans(b"123456789", b"000000000")
_TOO_MANY_ZEROS: Final = b"0" * (MAX_DIGITS + 1)
_fast_split = msgspec.json.Decoder(list[msgspec.Raw]).decode


def split(body: bytes) -> list[bytes]:
    """The elements of the array that `body` is, each exactly as it stands there.

    White space and commas between elements, and a byte order mark before the array, belong to
    none. When the body is no valid JSON, brackets, quotes and commas alone decide, so that a
    broken element does not take its neighbours with it. An object in place of the array is its
    one element. The elements themselves are not checked.

    Raises:
        Malformed: the body cannot be split, or has too many elements.
    """
    text = body.removeprefix(_UTF_8_BOM)
    if len(text) > _LARGE_BODY:
        if text.count(b"[") + text.count(b"{") > MAX_CONTAINERS:
            raise Malformed(Reason.TOO_COMPLEX)
        if text.count(b",") > _FAST_SPLIT_COMMAS:
            return _scan(text)
    try:
        raws = _fast_split(text)
    except (msgspec.DecodeError, RecursionError):
        return _scan(text)
    if len(raws) > MAX_ELEMENTS:
        raise Malformed(Reason.TOO_MANY_ELEMENTS)
    return list(map(bytes, raws))


def _scan(text: bytes) -> list[bytes]:
    """`split` by brackets, quotes and commas.

    Raises:
        Malformed: as `split`.
    """
    text = text.strip(_WHITESPACE)
    if not text.startswith(b"["):
        if text.startswith(b"{"):
            return [text]
        raise Malformed(_unsplittable(text))
    elements: list[bytes] = []
    places = 0
    start = position = depth = 1
    while depth and (position := _next_structural(text, position, depth)) < len(text):
        char = text[position]
        if char in _OPENING:
            depth += 1
        elif char != _COMMA:
            depth -= 1
        if char == _COMMA or not depth:
            places += 1
            if places > MAX_ELEMENTS:
                raise Malformed(Reason.TOO_MANY_ELEMENTS)
            # Nothing between two commas has no byte to keep: the good elements go on.
            if element := text[start:position].strip(_WHITESPACE):
                elements.append(element)
            start = position + 1
        position += 1
    # Unclosed, closed by a brace, followed by something, or commas only: nothing found is certain.
    if depth or position < len(text) or not text.endswith(b"]") or not elements:
        raise Malformed(_unsplittable(text))
    return elements


def _next_structural(text: bytes, position: int, depth: int) -> int:
    """Where the next bracket stands, or between elements the next comma; the end without one."""
    match = (_TO_BRACKET_OR_COMMA if depth == 1 else _TO_BRACKET).match(text, position)
    return match.end() if match else len(text)


def _unsplittable(text: bytes) -> Reason:
    """Why a body without elements has none."""
    try:
        text.decode()
        msgspec.json.decode(text, type=msgspec.Raw)
    except UnicodeDecodeError:
        return Reason.NOT_UTF_8
    except (msgspec.DecodeError, RecursionError):
        return Reason.NOT_JSON
    return Reason.NOT_AN_OBJECT


def check_readable(element: bytes) -> None:
    """Refuse what common JSON readers refuse although RFC 8259 allows it.

    Args:
        element: valid JSON.

    Raises:
        Malformed: nested past MAX_DEPTH, or a number past MAX_DIGITS.
    """
    size = len(element)
    # Every level opens and closes: most elements are too short to be deep, and done here.
    if size <= 2 * MAX_DEPTH:
        return
    # Deleting finds rare bytes with memchr, several times faster than bytes.count does.
    opened = 2 * size - len(element.replace(b"[", b"")) - len(element.replace(b"{", b""))
    if opened > MAX_DEPTH and _depth(element) > MAX_DEPTH:
        raise Malformed(Reason.TOO_DEEP)
    if size > MAX_DIGITS and _has_long_run(element) and _has_long_run(_STRINGS.sub(b" ", element)):
        raise Malformed(Reason.NUMBER_TOO_LONG)


def _depth(element: bytes) -> int:
    brackets = _BETWEEN_BRACKETS.sub(b"", element).translate(None, _NOT_BRACKETS)
    return max(accumulate(map(_STEP.__getitem__, brackets)), default=0)


def _has_long_run(data: bytes) -> bool:
    return _TOO_MANY_ZEROS in data.translate(_DIGITS_AS_ZEROS)
