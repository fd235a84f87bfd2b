"""The token and the URL that the sender posts to."""

import os
import secrets
from pathlib import Path
from typing import TYPE_CHECKING

from bridge.errors import ConfigurationError
from bridge.tokens import parse_tokens

if TYPE_CHECKING:
    from bridge.settings import Settings

TOKEN_FILE = Path("var/token")
"""Where `bridge up` keeps the token that it makes on its first run."""


def with_kept_token(settings: "Settings") -> "Settings":
    """The settings, with the kept token where none is set; makes and keeps one on the first run.

    Raises:
        ConfigurationError: the file cannot be written or read.
    """
    from pydantic import SecretStr  # noqa: PLC0415 - the command line starts without it

    if settings.named_tokens:
        return settings
    try:
        if not TOKEN_FILE.exists():
            _keep(secrets.token_urlsafe(32))
    except OSError as error:
        raise ConfigurationError(f"cannot keep a token: {error}; set BRIDGE_TOKENS") from error
    return settings.model_copy(update={"tokens": SecretStr(_kept())})


def _keep(token: str) -> None:
    """Write the file whole or not at all: an empty one would be no secret."""
    TOKEN_FILE.parent.mkdir(parents=True, exist_ok=True)
    draft = TOKEN_FILE.with_suffix(f".{os.getpid()}")
    handle = os.open(draft, os.O_CREAT | os.O_WRONLY | os.O_TRUNC, 0o600)
    with os.fdopen(handle, "w", encoding="utf-8") as file:
        file.write(token + "\n")
        file.flush()
        os.fsync(handle)
    draft.replace(TOKEN_FILE)


def _kept() -> str:
    """The kept token.

    Raises:
        ConfigurationError: it cannot be read, or is no token.
    """
    try:
        token = TOKEN_FILE.read_text(encoding="utf-8").strip()
    except (OSError, UnicodeDecodeError) as error:
        raise ConfigurationError(f"cannot read {TOKEN_FILE}: {error}; set BRIDGE_TOKENS") from error
    try:
        usable = bool(parse_tokens(token))
    except ConfigurationError:
        usable = False
    if not usable:
        raise ConfigurationError(
            f"{TOKEN_FILE} holds no usable token: remove it and `bridge up` makes another, "
            "or set BRIDGE_TOKENS"
        )
    return token


def webhook_url(settings: "Settings", base: str) -> str:
    """The URL to paste at the sender, with the first of the active tokens.

    Args:
        settings: with the tokens.
        base: scheme, host and port, e.g. `http://127.0.0.1:8080`.
    """
    token = next(iter(settings.named_tokens.values()), "")
    return f"{base.rstrip('/')}/hooks/dialog-insight/{token}".rstrip("/")


def local_url(settings: "Settings") -> str:
    """The URL of an ingress on this machine.

    Raises:
        ConfigurationError: no token is set, and `bridge up` never made one here.
    """
    from pydantic import SecretStr  # noqa: PLC0415

    if not settings.named_tokens:
        if not TOKEN_FILE.exists():
            raise ConfigurationError(
                "no token: set BRIDGE_TOKENS as the ingress has it, or name the URL with --to"
            )
        settings = settings.model_copy(update={"tokens": SecretStr(_kept())})
    return webhook_url(settings, local_base(settings.host, settings.port))


def local_base(host: str, port: int) -> str:
    """Scheme, host and port at which a person on this machine reaches what listens on `host`."""
    if host in {"0.0.0.0", "::", ""}:  # noqa: S104 - recognised, not bound
        host = "127.0.0.1"
    return f"http://[{host}]:{port}" if ":" in host else f"http://{host}:{port}"
