"""Bodies of the largest size, made to cost as much as possible.

Each runs in well under a second; one quadratic step would take hours. What is asserted is the
outcome and the memory, never the time.
"""

import tracemalloc
from typing import Final

import pytest

from bridge.sources.json_scanner import MAX_CONTAINERS
from tests.sources.posting import encoded, opt_out, post, reason

SIZE: Final = 8 * 1024 * 1024
"""The ingress takes no larger body."""
MEMORY: Final = 5 * SIZE
"""What one body may take at its worst, itself not counted."""
GOOD: Final = encoded(opt_out())


def fill(unit: bytes, *, before: bytes = b"", after: bytes = b"") -> bytes:
    """A body of SIZE bytes."""
    times = (SIZE - len(before) - len(after)) // len(unit)
    return before + unit * times + after


WHOLE: Final = {
    "opening brackets": (fill(b"["), "too-complex"),
    "closing brackets": (fill(b"]", before=b"["), "not-json"),
    "opening braces": (fill(b'{"a":'), "too-complex"),
    "empty objects": (fill(b"{},", before=b"[", after=b"{}]"), "too-complex"),
    "nested empty arrays": (fill(b"[],", before=b"[[", after=b"0]]"), "too-complex"),
    "numbers": (fill(b"0,", before=b"[", after=b"0]"), "too-many-elements"),
    "commas": (fill(b",", before=b"[", after=b"]"), "too-many-elements"),
    "quotes": (fill(b'"', before=b"["), "not-json"),
    "texts": (fill(b'"",', before=b"[", after=b"0]"), "too-many-elements"),
    "escaped quotes in an open text": (fill(b'\\"', before=b'["'), "not-json"),
    "backslashes in an open text": (fill(b"\\", before=b'["'), "not-json"),
    "backslashes": (fill(b"\\", before=b"["), "not-json"),
    "open texts between brackets": (fill(b'"]', before=b"["), "not-json"),
    "white space": (fill(b" "), "not-json"),
    "white space in an array": (fill(b" ", before=b"[x", after=b"]x"), "not-json"),
    "digits": (fill(b"1"), "not-an-object"),
    "NUL": (fill(b"\x00", before=b"["), "not-json"),
    "continuation bytes": (fill(b"\x80", before=b"["), "not-utf-8"),
}


@pytest.mark.parametrize("name", WHOLE)
def test_a_hostile_body_is_stored_whole(name: str) -> None:
    body, why = WHOLE[name]

    [message] = post(body)

    assert message.body == body
    assert reason(message) == why


PARTS: Final = {
    "one huge text": b'{"type":"a","x":"%b"}' % (b"x" * (SIZE // 2)),
    "many texts": b'{"type":"a","x":[%b0]}' % (b'"",' * 290_000),
    "many texts after much depth": b'{"type":"a","y":%b,"x":[%b0]}'
    % (b"[" * 300 + b"]" * 300, b'"",' * 290_000),
    "many long digit runs": b'{"type":"a","x":[%b0]}' % ((b"1" * 4300 + b",") * 200),
    "many long digit runs in texts": b'{"type":"a","x":[%b0]}' % ((b'"%b",' % (b"1" * 4301)) * 200),
    "many names": b'{"type":"a",%b}'
    % b",".join(b'"%d":%d' % (number, number % 9) for number in range(80_000)),
    "one name again and again": b'{%b"type":"a"}' % (b'"type":"b",' * 80_000),
    "brackets alone": b'{"type":"a","x":[%b0]}' % (b"[]," * 15_000),
    "brackets and numbers": b'{"type":"a","x":[%b0]}' % (b"[1]," * 15_000),
    "open brackets": b"[" * 10_000 + b"]" * 10_000,
    "closing in texts": b'{"type":"a","x":[%b0]}' % (b'"]}",' * 180_000),
    "a long type": b'{"type":"%b"}' % (b"\\n" * 400_000),
    "a long date": b'{"type":"a","dtExecution":"%b"}' % (b"2016.09.19 10:54:49-04:00" * 30_000),
}


@pytest.mark.parametrize("name", PARTS)
def test_a_hostile_element_again_and_again_does_no_harm_to_the_good_ones(name: str) -> None:
    part = PARTS[name]
    containers = part.count(b"[") + part.count(b"{")
    times = max(1, min((SIZE - 2000) // (len(part) + 1), (MAX_CONTAINERS - 10) // containers, 998))
    # an unclosed word, so that the scanner is at work as well
    elements = [*[part] * times, GOOD, b"nul"]

    messages = post(b"[" + b",".join(elements) + b"]")

    assert [message.body for message in messages] == elements
    assert messages[-2].topic == "notifications.contact_optout"
    assert reason(messages[-1]) == "not-json"


@pytest.mark.parametrize("name", ["numbers", "texts", "quotes", "opening brackets", "commas"])
def test_a_hostile_body_takes_a_bounded_multiple_of_its_size(name: str) -> None:
    body, _ = WHOLE[name]
    tracemalloc.start()
    try:
        post(body)
        _, peak = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()

    assert peak < MEMORY
