"""Who may post: decided on the path, before a byte of the body is read."""

from collections.abc import Mapping
from hashlib import sha256
from hmac import compare_digest
from typing import Final

from bridge.errors import NotAuthentic

HOOKS: Final = "/hooks/"
"""Every webhook's path begins with this."""


class PathToken:
    """The secret token as the last segment of the path; several are active at once.

    Args:
        source: the path segment that names the source, e.g. `dialog-insight`.
        tokens: name -> secret token. Without tokens the path ends with the source, and whoever
            can reach the port may post.
    """

    def __init__(self, source: str, tokens: Mapping[str, str]) -> None:
        self.path: Final = f"{HOOKS}{source}"
        self._prefix = f"{self.path}/"
        self._digests = tuple((name, _digest(token)) for name, token in tokens.items())

    def authenticate(self, path: str) -> str:
        """The name of the token that this path carries; empty where no tokens are set.

        Takes the same time for every path with the right prefix: the SHA-256 of the candidate is
        compared with that of every active token, in constant time, without an early exit. One
        trailing slash is overlooked: people paste URLs with it.

        Args:
            path: the request's path, percent-decoded, without its query.

        Raises:
            NotAuthentic: another source, no token or a wrong one. Never says which.
        """
        path = path.removesuffix("/")
        if not self._digests:
            if path != self.path:
                raise NotAuthentic
            return ""
        candidate = _digest(path[len(self._prefix) :])
        found: str | None = None
        for name, digest in self._digests:
            if compare_digest(candidate, digest):
                found = name
        if found is None or not path.startswith(self._prefix):
            raise NotAuthentic
        return found


def _digest(token: str) -> bytes:
    # A path that was no UTF-8 holds replacement characters, never lone surrogates; be safe anyway.
    return sha256(token.encode("utf-8", "surrogatepass")).digest()
