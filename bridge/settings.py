"""All settings, as one frozen value. Made once, in composition roots (`bridge/cli`), and passed on.

Read from, in order of precedence: arguments, `BRIDGE_*` environment variables, `BRIDGE_*_FILE`
variables that name a file holding the value (for secrets), and the TOML file named by
`BRIDGE_CONFIG`. Every problem is a `ConfigurationError` that names the variable.
"""

import os
import re
import tomllib
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Final, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from bridge.errors import ConfigurationError
from bridge.topics import Topics

MIN_SECRET_LENGTH: Final = 16
_TOKEN_NAME: Final = re.compile(r"[A-Za-z0-9_.-]{1,40}")
# The token is a path segment: anything that a proxy might rewrite is refused.
_TOKEN: Final = re.compile(r"[A-Za-z0-9_.~-]+")


class Settings(BaseSettings):
    """What a user may set. Times are seconds, sizes are bytes."""

    model_config = SettingsConfigDict(
        env_prefix="BRIDGE_", frozen=True, extra="forbid", hide_input_in_errors=True
    )

    broker_url: SecretStr = SecretStr("sqlite:///var/bridge.db")
    """`sqlite:///file.db`, `kafka://host:9092,host2:9092` or `amqp://user:password@host:5672/vhost`."""
    database_url: SecretStr = SecretStr("sqlite:///var/consumers.db")
    """The consumers' database: `sqlite:///file.db` or `postgresql://user:password@host/name`."""

    tokens: SecretStr = SecretStr("")
    """`name=token,…`; a bare token is named `default`. Several are active at once."""
    host: str = "127.0.0.1"
    port: int = Field(8080, ge=0, le=65535)
    admin_host: str = "127.0.0.1"
    admin_port: int = Field(8081, ge=0, le=65535)
    public_url: str = ""
    """How the sender reaches the ingress, e.g. `https://hooks.example.com`; only printed."""

    topic_prefix: str = "notifications"
    extra_types: Annotated[tuple[str, ...], NoDecode] = ()
    """Comma-separated types beyond the eight known ones that get a topic of their own."""

    max_body_bytes: int = Field(8 * 1024 * 1024, ge=1024)
    in_flight_bytes: int = Field(64 * 1024 * 1024, ge=8 * 1024 * 1024)
    in_flight_requests: int = Field(2000, ge=1)
    receive_timeout: float = Field(5.0, gt=0, le=6)
    publish_timeout: float = Field(8.0, gt=0, le=8)
    drain_timeout: float = Field(15.0, gt=0)

    kafka_partitions: int = Field(12, ge=1)
    kafka_replication: int | None = Field(None, ge=1)
    """Replicas of each topic; by default 3, or what a smaller cluster can give, said aloud."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_sasl_username: str = ""
    kafka_sasl_password: SecretStr = SecretStr("")
    kafka_ca_file: Path | None = None

    rabbitmq_shards: int = Field(4, ge=1, le=64)
    rabbitmq_management_url: SecretStr = SecretStr("")
    """`http://user:password@host:15672`; needed for topology verification and lag."""

    embedded_lanes: int = Field(4, ge=1, le=64)
    embedded_retention_days: float = Field(14, gt=0)
    embedded_max_bytes: int | None = Field(None, ge=1024 * 1024)
    embedded_min_free_bytes: int = Field(256 * 1024 * 1024, ge=0)

    retry_attempts: int = Field(5, ge=1)
    """How often a handler gets one delivery before it becomes a dead letter."""
    retry_delay: float = Field(0.5, ge=0)
    """The first wait between attempts; it doubles, with jitter."""
    retry_max_delay: float = Field(30.0, ge=0)
    handler_timeout: float = Field(60.0, gt=0)
    """The longest one call of a handler may take; then it is cancelled and tried again."""
    handler_concurrency: int = Field(16, ge=1)
    """How many contacts of one lane may be handled at the same time."""
    outage_max_delay: float = Field(60.0, gt=0)
    """The longest wait between probes while the outside is down (`Unavailable`)."""
    dead_letter_run: int = Field(20, ge=1)
    """So many dead letters in a row stop the group: a bad release must not empty a topic."""
    consume_drain_timeout: float = Field(20.0, gt=0)

    email_field: str = "f_EMail"

    crm_url: str = ""
    """Base URL of the CRM's contact collection (plain REST profile); empty: log only."""
    crm_token: SecretStr = SecretStr("")
    crm_timeout: float = Field(10.0, gt=0)
    alert_webhook_url: SecretStr = SecretStr("")
    """Where alerts are posted as JSON; empty: the log only."""
    alert_day_zone: str = "America/Montreal"
    """The time zone in which a day of the alert escalation begins (the sender's own)."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = "auto"

    @field_validator("extra_types", mode="before")
    @classmethod
    def _split_types(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            Topics(self.topic_prefix, self.extra_types)
            self.named_tokens  # noqa: B018 - evaluated for its refusals
        except ConfigurationError as error:
            raise ValueError(str(error)) from error
        return self

    @property
    def topics(self) -> Topics:
        """All topic names under the prefix."""
        return Topics(self.topic_prefix, self.extra_types)

    @property
    def named_tokens(self) -> Mapping[str, str]:
        """Name -> secret token of every active token.

        Raises:
            ConfigurationError: an empty, short or unusable token; names it, never shows it.
        """
        return parse_tokens(self.tokens.get_secret_value())

    @classmethod
    def settings_customise_sources(
        cls,
        settings_cls: type[BaseSettings],
        init_settings: PydanticBaseSettingsSource,
        env_settings: PydanticBaseSettingsSource,
        dotenv_settings: PydanticBaseSettingsSource,
        file_secret_settings: PydanticBaseSettingsSource,
    ) -> tuple[PydanticBaseSettingsSource, ...]:
        """Arguments, environment, files named by `*_FILE`, TOML."""
        del dotenv_settings, file_secret_settings
        return (init_settings, env_settings, _FileVariables(settings_cls), _Toml(settings_cls))


class _Mapped(PydanticBaseSettingsSource):
    """A source that reads one mapping of field name -> value."""

    def get_field_value(self, field: Any, field_name: str) -> tuple[Any, str, bool]:
        """Part of the library's interface; this source answers whole."""
        del field
        return self().get(field_name), field_name, False


class _FileVariables(_Mapped):
    """`BRIDGE_TOKENS_FILE=/run/secrets/tokens` gives the field `tokens` that file's text."""

    def __call__(self) -> dict[str, Any]:
        values: dict[str, Any] = {}
        for field in self.settings_cls.model_fields:
            variable = f"BRIDGE_{field.upper()}_FILE"
            if path := os.environ.get(variable):
                try:
                    values[field] = Path(path).read_text(encoding="utf-8").strip()
                except (OSError, UnicodeDecodeError) as error:
                    raise ConfigurationError(f"{variable}: cannot read {path}: {error}") from error
        return values


class _Toml(_Mapped):
    """The TOML file named by `BRIDGE_CONFIG`; its keys are the field names."""

    def __call__(self) -> dict[str, Any]:
        if not (path := os.environ.get("BRIDGE_CONFIG")):
            return {}
        try:
            return tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except (OSError, UnicodeDecodeError, tomllib.TOMLDecodeError) as error:
            raise ConfigurationError(f"BRIDGE_CONFIG: cannot read {path}: {error}") from error


def load_settings(**overrides: object) -> Settings:
    """Read the settings.

    Args:
        overrides: field values that take precedence over the environment.

    Raises:
        ConfigurationError: one line for each problem, naming the variable, never a secret.
    """
    unknown = sorted(
        name
        for name in os.environ
        if name.startswith("BRIDGE_") and not name.startswith("BRIDGE_TEST_") and not _known(name)
    )
    if unknown:
        raise ConfigurationError(f"unknown variable {', '.join(unknown)}: see the settings table")
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # validated by pydantic
    except ValidationError as error:
        lines = [
            f"BRIDGE_{'_'.join(map(str, item['loc'])).upper() or 'settings'}: {item['msg']}"
            for item in error.errors(include_input=False, include_url=False, include_context=False)
        ]
        raise ConfigurationError("\n".join(lines)) from None


def _known(variable: str) -> bool:
    name = variable.removeprefix("BRIDGE_").removesuffix("_FILE").lower()
    return (
        name == "config"
        or name in Settings.model_fields
        or (variable.removeprefix("BRIDGE_").lower() in Settings.model_fields)
    )


def parse_tokens(text: str) -> Mapping[str, str]:
    """Read `name=token,…` into name -> token.

    Raises:
        ConfigurationError: an empty, short, repeated or unusable token or name.
    """
    tokens: dict[str, str] = {}
    for part in filter(None, (part.strip() for part in text.split(","))):
        name, separator, token = part.partition("=")
        if not separator:
            name, token = "default", part
        if not _TOKEN_NAME.fullmatch(name) or name in tokens:
            raise ConfigurationError(
                "BRIDGE_TOKENS: each token needs a name of its own (letters, digits, '_', '.', '-')"
            )
        if len(token) < MIN_SECRET_LENGTH or not _TOKEN.fullmatch(token):
            raise ConfigurationError(
                f"BRIDGE_TOKENS: the token named {name!r} must have at least {MIN_SECRET_LENGTH} "
                "letters, digits, '_', '.', '~' or '-'; make one with: "
                'python3 -c "import secrets; print(secrets.token_urlsafe(32))"'
            )
        tokens[name] = token
    return tokens
