"""What holds for any body: the same bytes out, nothing lost, nothing raised."""

import json
import re
from typing import Any, Final

import pydantic_core
from hypothesis import example, given, settings
from hypothesis import strategies as st

from bridge.message import Message
from bridge.sources import envelope
from bridge.sources.malformed import Malformed, Reason
from tests.sources.posting import AT_ANY_SPEED, TOPICS, encoded, opt_out, post, reason

WHITESPACE: Final = " \t\r\n"
HEADER_VALUE: Final = re.compile(r"[^\x00-\x1f\x7f-\x9f]{1,410}")
TEXTS = st.text(alphabet=st.characters(exclude_categories=["Cs"]), max_size=20)
SCALARS = st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, width=32) | TEXTS
VALUES = st.recursive(
    SCALARS,
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=10,
)
NAMES: Final = ["type", "Type", "TYPE", "EventUniqueID", "eventuniqueid", "dtExecution"]
NAMES_MORE: Final = ["idCompany", "idProject", "idproject", "isTest", "IsTest", "ContactID"]
TYPES = st.sampled_from([*TOPICS.types, "contact_click"]) | VALUES
CONTACTS = st.fixed_dictionaries(
    {}, optional={"idContact": SCALARS, "IDContact": SCALARS, "f_EMail": TEXTS}
)


@st.composite
def notifications(draw: st.DrawFn) -> dict[str, Any]:
    """Anything from a good notification to an object that has a few of its names."""
    made = dict(draw(st.dictionaries(TEXTS, VALUES, max_size=3)))
    if draw(st.booleans()):
        made |= opt_out()
    for name in draw(st.lists(st.sampled_from(NAMES + NAMES_MORE), max_size=4)):
        made[name] = draw(TYPES | CONTACTS)
    return made


SPACES = st.text(alphabet=WHITESPACE, max_size=3)


@st.composite
def arrays(draw: st.DrawFn, elements: st.SearchStrategy[bytes]) -> tuple[list[bytes], bytes]:
    """The elements, and an array of them with white space and perhaps a byte order mark."""
    chosen = draw(st.lists(elements, max_size=8))
    places = [draw(SPACES).encode() + element + draw(SPACES).encode() for element in chosen]
    mark = draw(st.sampled_from([b"", b"\xef\xbb\xbf"]))
    return chosen, mark + draw(SPACES).encode() + b"[" + b",".join(places) + b"]"


@st.composite
def any_json(draw: st.DrawFn) -> bytes:
    """One element in some JSON writer's style."""
    separators = draw(st.sampled_from([(",", ":"), (" , ", " : ")]))
    text = json.dumps(
        draw(notifications() | VALUES),
        ensure_ascii=draw(st.booleans()),
        indent=draw(st.sampled_from([None, 2])),
        separators=separators,
    )
    return text.encode()


BREAKS = st.sampled_from(
    [b"NaN", b'"\\ud800"', b'"\xff"', b'{"a":01}', b"{]", b"nul", b'"\x00"', b"{'a':1}", b"\\"]
)


def conforms(message: Message) -> None:
    """Every header can be carried, and whoever reads what is not malformed can read it."""
    names = [name for name, _ in message.headers]
    assert len(set(names)) == len(names)
    for name, value in message.headers:
        assert HEADER_VALUE.fullmatch(value.decode()), name
    assert 0 < len(message.key) <= 410
    if message.topic == TOPICS.malformed:
        assert reason(message) in list(Reason)
    else:
        assert isinstance(pydantic_core.from_json(message.body), dict)
        assert isinstance(json.loads(message.body), dict)


@settings(AT_ANY_SPEED)
@given(arrays(any_json()))
def test_any_array_comes_out_as_the_same_element_bytes_in_order(
    case: tuple[list[bytes], bytes],
) -> None:
    elements, body = case

    messages = post(body)

    assert [message.body for message in messages] == elements
    for message in messages:
        conforms(message)


@settings(AT_ANY_SPEED)
@given(arrays(any_json() | BREAKS))
def test_broken_elements_come_out_too_and_harm_no_other(case: tuple[list[bytes], bytes]) -> None:
    elements, body = case

    messages = post(body)

    assert [message.body for message in messages] == elements
    for message in messages:
        conforms(message)
        # then each fares as it does alone
        [alone] = post(b"[" + message.body + b"]")
        assert alone == message


JUNK = st.binary(max_size=200) | st.lists(
    st.sampled_from([b"[", b"]", b"{", b"}", b",", b'"', b"\\", b" ", b"a", b"1", b"\xff", b"\n"]),
    max_size=60,
).map(b"".join)


@settings(AT_ANY_SPEED, max_examples=300)
@given(JUNK | st.tuples(JUNK, arrays(any_json()), JUNK).map(lambda p: p[0] + p[1][1] + p[2]))
@example(b'[{"a":"\\"}]')
@example(b'["],["]')
@example(b"[7}")
def test_of_any_bytes_nothing_is_lost_and_nothing_is_raised(body: bytes) -> None:
    messages = post(body)

    for message in messages:
        conforms(message)
    if [message.body for message in messages] == [body]:
        return
    # then the elements stand in the body in order, and only an array's own bytes are between them
    position = 0
    between = b""
    for message in messages:
        found = body.index(message.body, position)
        between += body[position:found] + b"|"
        position = found + len(message.body)
    between += body[position:]
    between = between.removeprefix(b"\xef\xbb\xbf").translate(None, WHITESPACE.encode())
    assert re.fullmatch(rb"\[[|,]*\]|\|", between)


@settings(AT_ANY_SPEED)
@given(notifications())
def test_the_strict_and_the_lenient_reading_agree(made: dict[str, Any]) -> None:
    element = encoded(made)

    def outcome(read: Any) -> Any:
        try:
            return read(element)
        except Malformed as malformed:
            return malformed.reason

    def lenient(element: bytes) -> Any:
        return envelope._read_lenient(element, element)

    assert outcome(envelope.read_envelope) == outcome(lenient)
