"""The secret tokens of webhook paths, as a user writes them."""

import re
from collections.abc import Mapping
from typing import Final

from bridge.errors import ConfigurationError

MIN_SECRET_LENGTH: Final = 16
_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,40}")
# The token is a path segment: anything that a proxy might rewrite is refused.
_TOKEN: Final = re.compile(r"[A-Za-z0-9_.~-]+")


def parse_tokens(text: str) -> Mapping[str, str]:
    """Read `name=token,…` into name -> token; in a file a line may hold one each.

    Raises:
        ConfigurationError: an empty, short, repeated or unusable token or name.
    """
    tokens: dict[str, str] = {}
    parts = [part.strip() for part in re.split(r"[,\n]", text)]
    if text.strip() and not any(parts):
        raise ConfigurationError("BRIDGE_TOKENS: holds no token")
    for number, part in enumerate(filter(None, parts), start=1):
        name, separator, token = (piece.strip() for piece in part.partition("="))
        if not separator:
            name, token = "default", part
        # By number, not by name: half of a bare token with a `=` in it would pass for a name.
        if not _NAME.fullmatch(name) or name in tokens:
            raise ConfigurationError(
                f"BRIDGE_TOKENS: token number {number} needs a name of its own, as in name=token "
                "(1 to 40 letters, digits, '_', '.', '-'; a bare token is named default)"
            )
        if len(token) < MIN_SECRET_LENGTH or not _TOKEN.fullmatch(token):
            raise ConfigurationError(
                f"BRIDGE_TOKENS: token number {number} must have at least {MIN_SECRET_LENGTH} "
                "letters, digits, '_', '.', '~' or '-'; make one with: "
                'python3 -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
        if token in tokens.values():
            raise ConfigurationError(f"BRIDGE_TOKENS: token number {number} is there twice")
        tokens[name] = token
    return tokens
