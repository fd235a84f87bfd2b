"""Settings: where they come from, what is refused, and that no secret shows."""

from __future__ import annotations

import os
from typing import TYPE_CHECKING

import pytest
from pydantic import ValidationError

from bridge.errors import ConfigurationError
from bridge.settings import Settings, load_settings
from bridge.tokens import parse_tokens

if TYPE_CHECKING:
    from pathlib import Path

SECRET = "hunter2-hunter2-hunter2"


@pytest.fixture(autouse=True)
def _empty_environment(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in list(os.environ):
        if name.upper().startswith("BRIDGE_"):
            monkeypatch.delenv(name)


def refusal(**overrides: object) -> str:
    """What a user reads."""
    with pytest.raises(ConfigurationError) as refused:
        load_settings(**overrides)
    assert refused.value.__cause__ is None
    return str(refused.value)


def test_without_any_setting_everything_has_its_default() -> None:
    settings = load_settings()

    assert settings.broker_url.get_secret_value() == "sqlite:///var/bridge.db"
    assert (settings.port, settings.admin_port) == (8080, 8081)
    assert settings.named_tokens == {}
    assert settings.topics.of("contact_optin") == "notifications.contact_optin"


def test_arguments_beat_environment_beats_file_variables_beats_toml(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    toml, text = tmp_path / "bridge.toml", tmp_path / "prefix"
    toml.write_text('topic_prefix = "toml"\nemail_field = "toml"\nhost = "toml"\nport = 1\n')
    monkeypatch.setenv("BRIDGE_CONFIG", str(toml))
    text.write_text("file\n")
    for field in ("TOPIC_PREFIX", "EMAIL_FIELD", "HOST"):
        monkeypatch.setenv(f"BRIDGE_{field}_FILE", str(text))
    for field in ("TOPIC_PREFIX", "EMAIL_FIELD"):
        monkeypatch.setenv(f"BRIDGE_{field}", "environment")

    settings = load_settings(topic_prefix="argument")

    assert settings.topic_prefix == "argument"
    assert settings.email_field == "environment"
    assert settings.host == "file"
    assert settings.port == 1


def test_a_variable_set_to_nothing_is_not_set(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("BRIDGE_PORT", "BRIDGE_KAFKA_CA_FILE", "BRIDGE_TOKENS", "BRIDGE_TOKENS_FILE"):
        monkeypatch.setenv(name, "")

    settings = load_settings()

    assert settings.port == 8080
    assert settings.kafka_ca_file is None


def test_a_field_whose_own_name_ends_in_file_is_no_file_variable(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    monkeypatch.setenv("BRIDGE_KAFKA_CA_FILE", str(tmp_path / "ca.pem"))

    assert load_settings().kafka_ca_file == tmp_path / "ca.pem"


def test_a_secret_in_a_file_is_read_without_its_line_end(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "tokens").write_text(f"old={SECRET}\nnew={SECRET}-2\n")
    monkeypatch.setenv("BRIDGE_TOKENS_FILE", str(tmp_path / "tokens"))

    assert load_settings().named_tokens == {"old": SECRET, "new": f"{SECRET}-2"}


def test_lists_are_separated_by_commas(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    monkeypatch.setenv("BRIDGE_EXTRA_TYPES", "sms_sent, contact_merged,,")
    assert load_settings().extra_types == ("sms_sent", "contact_merged")

    monkeypatch.delenv("BRIDGE_EXTRA_TYPES")
    (tmp_path / "bridge.toml").write_text('extra_types = ["sms_sent", "contact_merged"]\n')
    monkeypatch.setenv("BRIDGE_CONFIG", str(tmp_path / "bridge.toml"))
    assert load_settings().extra_types == ("sms_sent", "contact_merged")


@pytest.mark.parametrize(
    ("variable", "hint"),
    [
        ("BRIDGE_PROT", "did you mean BRIDGE_PORT?"),
        ("BRIDGE_BROKER_ULR", "did you mean BRIDGE_BROKER_URL?"),
        ("BRIDGE_TOKENS_FIEL", "did you mean BRIDGE_TOKENS?"),
        ("bridge_prot", "did you mean BRIDGE_PORT?"),
        ("BRIDGE_CONFIG_FILE", "did you mean BRIDGE_CONFIG?"),
        ("BRIDGE_XYZZY", "unknown"),
    ],
)
def test_an_unknown_variable_is_refused_with_a_hint(
    monkeypatch: pytest.MonkeyPatch, variable: str, hint: str
) -> None:
    monkeypatch.setenv(variable, SECRET)

    text = refusal()

    assert text.startswith(f"{variable}: unknown")
    assert text.endswith(hint)
    assert SECRET not in text


def test_variables_of_the_tests_are_nobodys_settings(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_TEST_SEED", "1")

    load_settings()


def test_an_unknown_key_of_the_settings_file_is_refused(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    (tmp_path / "bridge.toml").write_text(f'tokns = "{SECRET}"\n')
    monkeypatch.setenv("BRIDGE_CONFIG", str(tmp_path / "bridge.toml"))

    text = refusal()

    assert "'tokns' in the settings file" in text
    assert "did you mean BRIDGE_TOKENS?" in text
    assert SECRET not in text


def test_every_problem_is_a_line_that_names_its_variable(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("BRIDGE_PORT", "eighty")
    monkeypatch.setenv("BRIDGE_PUBLISH_TIMEOUT", "nan")
    monkeypatch.setenv("BRIDGE_LOG_LEVEL", "loud")

    lines = refusal().splitlines()

    assert [line.partition(":")[0] for line in lines] == [
        "BRIDGE_PORT",
        "BRIDGE_PUBLISH_TIMEOUT",
        "BRIDGE_LOG_LEVEL",
    ]


@pytest.mark.parametrize(
    ("variable", "value"),
    [
        ("BRIDGE_TOPIC_PREFIX", "a..b"),
        ("BRIDGE_EXTRA_TYPES", "malformed"),
        ("BRIDGE_EXTRA_TYPES", "with space"),
        ("BRIDGE_MAX_BODY_BYTES", str(9 * 1024 * 1024)),
        ("BRIDGE_IN_FLIGHT_BYTES", "1000"),
        ("BRIDGE_RECEIVE_TIMEOUT", "7"),
        ("BRIDGE_DRAIN_TIMEOUT", "inf"),
        ("BRIDGE_ADMIN_PORT", "65536"),
    ],
)
def test_a_value_that_cannot_work_is_refused_by_its_variable(
    monkeypatch: pytest.MonkeyPatch, variable: str, value: str
) -> None:
    monkeypatch.setenv(variable, value)

    assert refusal().startswith(f"{variable}: ")


@pytest.mark.parametrize(
    ("variable", "content"),
    [
        ("BRIDGE_CONFIG", None),
        ("BRIDGE_CONFIG", b"\xff" + SECRET.encode()),
        ("BRIDGE_CONFIG", f'tokens = "{SECRET}\n'.encode()),
        ("BRIDGE_CRM_TOKEN_FILE", None),
        ("BRIDGE_CRM_TOKEN_FILE", b"\xff" + SECRET.encode()),
    ],
)
def test_a_file_that_cannot_be_read_is_named_and_not_quoted(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, variable: str, content: bytes | None
) -> None:
    if content is not None:
        (tmp_path / "file").write_bytes(content)
    monkeypatch.setenv(variable, str(tmp_path / "file"))

    with pytest.raises(ConfigurationError) as refused:
        load_settings()

    assert str(refused.value).startswith(f"{variable}: {tmp_path}/file")
    assert SECRET not in f"{refused.value} {refused.value.__cause__!r}"


def test_settings_are_frozen() -> None:
    settings = load_settings()

    with pytest.raises(ValidationError):
        settings.port = 1  # type: ignore[misc]  # that is the point


def test_no_secret_is_in_a_representation() -> None:
    settings = load_settings(
        tokens=SECRET,
        broker_url=f"amqp://u:{SECRET}@host",
        database_url=f"postgresql://u:{SECRET}@host/db",
        kafka_sasl_password=SECRET,
        rabbitmq_management_url=f"http://u:{SECRET}@host",
        crm_token=SECRET,
        alert_webhook_url=f"https://hooks/{SECRET}",
    )

    shown = f"{settings} {settings!r} {settings.model_dump()} {settings.model_dump_json()}"
    assert SECRET not in shown


@pytest.mark.parametrize(
    "text",
    [
        "hunter2",
        "production=hunter2",
        "=hunter2-hunter2-hunter2",
        "hunter2-hunter2-hunter2==",
        "a=hunter2/hunter2/hunter2",
        "a=hunter2%20hunter2%20",
        "a=hunter2-hunter2-hunter2,a=hunter2-hunter2-hunter3",
        "hunter2-hunter2-hunter2,hunter2-hunter2-hunter3",
        "a=hunter2-hunter2-hunter2,b=hunter2-hunter2-hunter2",
        f"{'hunter2' * 10}=hunter2-hunter2-hunter2",
    ],
)
def test_an_unusable_token_is_refused_and_never_shown(
    monkeypatch: pytest.MonkeyPatch, text: str
) -> None:
    monkeypatch.setenv("BRIDGE_TOKENS", text)

    shown = refusal()

    assert shown.startswith("BRIDGE_TOKENS: token number ")
    assert "hunter2" not in shown
    with pytest.raises(ValidationError) as direct:
        Settings()
    assert "hunter2" not in f"{direct.value} {direct.value!r}"


@pytest.mark.parametrize("text", [",", " , ,", "\n,\n"])
def test_separators_without_a_token_are_refused(text: str) -> None:
    with pytest.raises(ConfigurationError, match="holds no token"):
        parse_tokens(text)


def test_tokens_have_names_and_a_bare_one_is_the_default() -> None:
    assert parse_tokens(f" a = {SECRET} , {SECRET}-2,") == {"a": SECRET, "default": f"{SECRET}-2"}
    assert parse_tokens("") == {}
