"""All settings, as one frozen value. Made once, in composition roots (`bridge/cli`), and passed on.

Read from, in order of precedence: arguments, `BRIDGE_*` environment variables, `BRIDGE_*_FILE`
variables that name a file holding the value (for secrets), and the TOML file named by
`BRIDGE_CONFIG`. Every problem is a `ConfigurationError` that names the variable.
"""

import difflib
import os
import tomllib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, Self

from pydantic import Field, SecretStr, ValidationError, field_validator, model_validator
from pydantic_settings import (
    BaseSettings,
    NoDecode,
    PydanticBaseSettingsSource,
    SettingsConfigDict,
)

from bridge.errors import ConfigurationError
from bridge.tokens import parse_tokens
from bridge.topics import Topics


class Settings(BaseSettings):
    """What a user may set. Times are seconds, sizes are bytes."""

    model_config = SettingsConfigDict(
        env_prefix="BRIDGE_",
        # A variable that is set to nothing (`BRIDGE_X=${X}` in a Compose file) is not set.
        env_ignore_empty=True,
        frozen=True,
        extra="forbid",
        hide_input_in_errors=True,
        allow_inf_nan=False,
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

    max_body_bytes: int = Field(8 * 1024 * 1024, ge=1024, le=8 * 1024 * 1024)
    """A larger one could not be stored whole in `malformed`."""
    in_flight_bytes: int = Field(64 * 1024 * 1024, ge=8 * 1024 * 1024)
    in_flight_requests: int = Field(2000, ge=1)
    receive_timeout: float = Field(5.0, gt=0, le=6)
    publish_timeout: float = Field(8.0, gt=0, le=8)
    drain_timeout: float = Field(15.0, gt=0)

    kafka_partitions: int = Field(12, ge=1)
    kafka_replication: int | None = Field(None, ge=1)
    """Replicas of each topic; by default 3, or what a smaller cluster can give, said aloud."""
    kafka_session_timeout: float = Field(45.0, ge=6)
    """A replica that is silent for so long loses its partitions to the others."""
    kafka_security_protocol: Literal["PLAINTEXT", "SSL", "SASL_PLAINTEXT", "SASL_SSL"] = "PLAINTEXT"
    kafka_sasl_mechanism: Literal["PLAIN", "SCRAM-SHA-256", "SCRAM-SHA-512"] = "SCRAM-SHA-512"
    kafka_sasl_username: str = ""
    kafka_sasl_password: SecretStr = SecretStr("")
    kafka_ca_file: Path | None = None

    rabbitmq_shards: int = Field(4, ge=1, le=64)
    rabbitmq_management_url: SecretStr = SecretStr("")
    """`http://user:password@host:15672`; needed for topology verification and lag."""

    embedded_lanes: int = Field(4, ge=1, le=64)
    embedded_retention_days: float = Field(14, gt=0, le=30)
    """30 at most: so long the consumers remember which notifications they have handled."""
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
    """So many in a row that fail to the last attempt stop the group: a bad release must not empty
    a topic into the dead letters. Those rejected for what they hold do not count."""
    consume_drain_timeout: float = Field(20.0, gt=0)

    email_field: str = "f_EMail"

    crm_url: str = ""
    """Base URL of the CRM's contact collection (plain REST profile); empty: log only."""
    crm_token: SecretStr = SecretStr("")
    crm_timeout: float = Field(10.0, gt=0)
    alert_webhook_url: SecretStr = SecretStr("")
    """Where alerts are posted as JSON; empty: the log only."""
    alert_day_zone: str = "America/Toronto"
    """The time zone in which a day of the alert escalation begins (the sender's own)."""

    log_level: Literal["debug", "info", "warning", "error"] = "info"
    log_format: Literal["auto", "console", "json"] = "auto"

    @field_validator("log_level", "log_format", mode="before")
    @classmethod
    def _in_any_casing(cls, value: object) -> object:
        return value.lower() if isinstance(value, str) else value

    @field_validator("public_url")
    @classmethod
    def _with_scheme(cls, value: str) -> str:
        if value and not value.startswith(("https://", "http://")):
            raise ValueError("begin it with https:// or http://")
        return value

    @field_validator("extra_types", mode="before")
    @classmethod
    def _split_types(cls, value: object) -> object:
        if isinstance(value, str):
            return tuple(part.strip() for part in value.split(",") if part.strip())
        return value

    @model_validator(mode="after")
    def _check(self) -> Self:
        try:
            Topics(self.topic_prefix)
        except ConfigurationError as error:
            raise ValueError(f"BRIDGE_TOPIC_PREFIX: {error}") from None
        try:
            Topics(self.topic_prefix, self.extra_types)
        except ConfigurationError as error:
            raise ValueError(f"BRIDGE_EXTRA_TYPES: {error}") from None
        try:
            parse_tokens(self.tokens.get_secret_value())
        except ConfigurationError as error:
            raise ValueError(str(error)) from None
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
                except OSError as error:
                    raise ConfigurationError(f"{variable}: {path}: {error.strerror}") from error
                except UnicodeDecodeError:
                    # Without its cause, which holds the file's bytes.
                    raise ConfigurationError(f"{variable}: {path} is not UTF-8 text") from None
        return values


class _Toml(_Mapped):
    """The TOML file named by `BRIDGE_CONFIG`; its keys are the field names."""

    def __call__(self) -> dict[str, Any]:
        if not (path := os.environ.get("BRIDGE_CONFIG")):
            return {}
        try:
            return tomllib.loads(Path(path).read_text(encoding="utf-8"))
        except OSError as error:
            raise ConfigurationError(f"BRIDGE_CONFIG: {path}: {error.strerror}") from error
        except UnicodeDecodeError:
            raise ConfigurationError(f"BRIDGE_CONFIG: {path} is not UTF-8 text") from None
        except tomllib.TOMLDecodeError as error:
            raise ConfigurationError(f"BRIDGE_CONFIG: {path} is not TOML: {error}") from None


def load_settings(**overrides: object) -> Settings:
    """Read the settings.

    Args:
        overrides: field values that take precedence over the environment.

    Raises:
        ConfigurationError: one line for each problem, naming the variable, never a secret.
    """
    unknown = sorted(name for name in os.environ if _is_ours(name) and not _known(name.upper()))
    if unknown:
        raise ConfigurationError("\n".join(f"{name}: unknown{_hint(name)}" for name in unknown))
    try:
        return Settings(**overrides)  # type: ignore[arg-type]  # validated by pydantic
    except ValidationError as error:
        raise ConfigurationError("\n".join(_explain(error))) from None


def _is_ours(variable: str) -> bool:
    name = variable.upper()
    return name.startswith("BRIDGE_") and not name.startswith("BRIDGE_TEST_")


def _known(variable: str) -> bool:
    name = variable.removeprefix("BRIDGE_").lower()
    fields = Settings.model_fields
    return name == "config" or name in fields or name.removesuffix("_file") in fields


def _hint(variable: str) -> str:
    """What was probably meant."""
    names = [f"BRIDGE_{field.upper()}" for field in Settings.model_fields]
    near = difflib.get_close_matches(variable.upper(), [*names, "BRIDGE_CONFIG"], n=1, cutoff=0.75)
    return f"; did you mean {near[0]}?" if near else ""


def _explain(error: ValidationError) -> Iterator[str]:
    """One line for each problem. Never the value: it may be a secret."""
    for item in error.errors(include_input=False, include_url=False, include_context=False):
        message = item["msg"].removeprefix("Value error, ")
        variable = f"BRIDGE_{'_'.join(map(str, item['loc'])).upper()}"
        if item["type"] == "extra_forbidden":
            yield f"{variable}: unknown (as {item['loc'][0]!r} in the settings file)" + _hint(
                variable
            )
        else:
            yield f"{variable}: {message}" if item["loc"] else message
