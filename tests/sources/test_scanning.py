"""The scanner against a plain loop that anybody can check by eye."""

from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.sources import json_scanner
from bridge.sources.malformed import Malformed
from tests.sources.posting import AT_ANY_SPEED

PIECES = [b'"', b"\\", b"[", b"]", b"{", b"}", b",", b"a", b"7", b" ", b"\n", b"\xff"]
TEXTS = st.lists(st.sampled_from(PIECES), max_size=40).map(b"".join)


def outside_of_texts(data: bytes) -> list[tuple[int, bytes]]:
    """Position and byte of all outside of JSON texts, and of the quotes that begin them."""
    found = []
    position = 0
    while position < len(data):
        byte = data[position : position + 1]
        found.append((position, byte))
        if byte == b'"':
            position += 1
            while position < len(data) and data[position : position + 1] != b'"':
                position += 2 if data[position : position + 1] == b"\\" else 1
        position += 1
    return found


def split_plainly(data: bytes) -> list[bytes] | None:
    """The elements of an array by brackets, quotes and commas; None where it cannot be split."""
    data = data.strip(b" \t\r\n")
    if not data.startswith(b"["):
        return [data] if data.startswith(b"{") else None
    places, start, depth = [], 1, 0
    for position, byte in outside_of_texts(data):
        depth += (byte in b"[{") - (byte in b"]}")
        if depth == 0 or (depth == 1 and byte == b","):
            places.append(data[start:position].strip(b" \t\r\n"))
            start = position + 1
        if depth == 0:
            elements = [place for place in places if place]
            return elements if elements and start == len(data) and byte == b"]" else None
    return None


@settings(AT_ANY_SPEED, max_examples=1000)
@given(TEXTS | TEXTS.map(lambda data: b"[" + data + b"]"))
@example(b"[7}")
@example(b'["\\')
@example(b'["\\"]')
@example(b'["\\\\"]')
@example(b'[{"a":"]"},"[\\"",7]')
def test_it_splits_where_the_plain_loop_splits(data: bytes) -> None:
    try:
        elements = json_scanner._scan(data)
    except Malformed:
        assert split_plainly(data) is None
    else:
        assert elements == split_plainly(data)


@settings(AT_ANY_SPEED, max_examples=500)
@given(TEXTS)
def test_it_measures_the_depth_that_the_plain_loop_measures(data: bytes) -> None:
    depths = [0]
    for _, byte in outside_of_texts(data):
        depths.append(depths[-1] + (byte in b"[{") - (byte in b"]}"))

    assert max(json_scanner._depth(data), 0) == max(depths)


@settings(AT_ANY_SPEED, max_examples=500)
@given(st.lists(st.sampled_from([b'"', b"\\", b"7", b"77", b"a", b","]), max_size=30).map(b"".join))
def test_it_takes_out_texts_and_no_digit_outside_of_them(data: bytes) -> None:
    digits = [byte for _, byte in outside_of_texts(data) if byte == b"7"]

    assert json_scanner._STRINGS.sub(b" ", data).count(b"7") == len(digits)
