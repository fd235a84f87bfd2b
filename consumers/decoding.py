"""From a body's bytes to a JSON object that every database and every library can carry."""

import json
import math
import re
from collections.abc import Iterable
from typing import Any, Final, NoReturn

MAX_DEPTH: Final = 200
"""Nested deeper, a body is not read: recursive code further on would fail less politely."""

_BOM: Final = b"\xef\xbb\xbf"
# Valid in JSON, but UTF-8 cannot encode the first and PostgreSQL cannot store the second.
_UNSTORABLE: Final = re.compile("[\ud800-\udfff\x00]")
_UNSTORABLE_ESCAPE: Final = re.compile(rb"\\u(?:[dD][89a-fA-F]|0000)")


class Undecodable(ValueError):
    """The body is no JSON object that can be read: it will never be handled."""


def decode(body: bytes) -> dict[str, Any]:
    """Read one notification's body.

    Of duplicate keys the last wins. A byte order mark is passed over. Lone surrogates and U+0000
    become U+FFFD, and a number past the range of a float stays text: an opt-out is not lost
    because a first name is garbled.

    Raises:
        Undecodable: not UTF-8, not JSON, not an object, an integer of thousands of digits, or
            nested past `MAX_DEPTH`.
    """
    try:
        text = body.removeprefix(_BOM).decode("utf-8")
        value: object = _DECODER.decode(text)
    except UnicodeDecodeError as error:
        raise Undecodable(f"the body is not UTF-8 at byte {error.start}") from error
    except RecursionError as error:
        raise Undecodable(f"the body is nested deeper than {MAX_DEPTH}") from error
    except ValueError as error:
        raise Undecodable(f"the body is not JSON: {error}") from error
    if not isinstance(value, dict):
        raise Undecodable(f"the body is not an object but {type(value).__name__}")
    # So few openings cannot nest too deep: ordinary bodies are not walked.
    if body.count(b"{") + body.count(b"[") > MAX_DEPTH:
        _check_depth(value)
    if _UNSTORABLE_ESCAPE.search(body):
        return {storable(key): _storable(item) for key, item in value.items()}
    return value


def storable(text: str) -> str:
    """The text with what UTF-8 or PostgreSQL cannot carry replaced by U+FFFD."""
    return _UNSTORABLE.sub("\ufffd", text)


def _number(text: str) -> float | str:
    number = float(text)
    return text if math.isinf(number) else number


def _no_number(text: str) -> NoReturn:
    raise ValueError(f"{text} is no number")


_DECODER: Final = json.JSONDecoder(parse_float=_number, parse_constant=_no_number)


def _check_depth(value: object) -> None:
    level = [value]
    for _ in range(MAX_DEPTH):
        level = [inner for outer in level for inner in _inside(outer)]
    if level:
        raise Undecodable(f"the body is nested deeper than {MAX_DEPTH}")


def _inside(value: object) -> Iterable[object]:
    if isinstance(value, dict):
        return value.values()
    return value if isinstance(value, list) else ()


def _storable(value: Any) -> Any:
    if isinstance(value, str):
        return storable(value)
    if isinstance(value, list):
        return [_storable(item) for item in value]
    if isinstance(value, dict):
        return {storable(key): _storable(item) for key, item in value.items()}
    return value
