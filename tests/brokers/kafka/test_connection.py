"""How the Kafka clients are told where to go and who they are."""

import pytest
from pydantic import SecretStr

from bridge.brokers.kafka import KafkaBroker
from bridge.brokers.kafka.connection import bootstrap_servers, client_arguments
from bridge.errors import ConfigurationError
from bridge.settings import Settings


def at(url: str, **more: object) -> Settings:
    return Settings(broker_url=SecretStr(url), **more)  # type: ignore[arg-type]  # fields by name


def test_every_server_of_the_url_is_used_and_the_port_may_be_left_out() -> None:
    assert bootstrap_servers(at("kafka://one:1,two")) == ["one:1", "two:9092"]


@pytest.mark.parametrize("url", ["kafka://", "kafka:///", "kafka://,"])
def test_a_url_without_a_server_is_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="kafka://host:9092"):
        KafkaBroker(at(url))


def test_a_password_in_the_url_is_refused_with_the_variable_to_use_and_not_shown() -> None:
    with pytest.raises(ConfigurationError, match="BRIDGE_KAFKA_SASL_PASSWORD") as refusal:
        KafkaBroker(at("kafka://me:very-secret@host:9092"))
    assert "very-secret" not in str(refusal.value)


def test_sasl_without_a_user_is_refused() -> None:
    with pytest.raises(ConfigurationError, match="BRIDGE_KAFKA_SASL_USERNAME"):
        KafkaBroker(at("kafka://host", kafka_security_protocol="SASL_SSL"))


def test_a_ca_file_that_is_not_there_is_refused_with_its_variable() -> None:
    with pytest.raises(ConfigurationError, match="BRIDGE_KAFKA_CA_FILE"):
        KafkaBroker(at("kafka://host", kafka_security_protocol="SSL", kafka_ca_file="/no/such"))


def test_security_settings_reach_every_client() -> None:
    arguments = client_arguments(
        at(
            "kafka://host",
            kafka_security_protocol="SASL_SSL",
            kafka_sasl_username="me",
            kafka_sasl_password=SecretStr("secret"),
        )
    )
    assert arguments["security_protocol"] == "SASL_SSL"
    assert arguments["sasl_mechanism"] == "SCRAM-SHA-512"
    assert arguments["sasl_plain_username"] == "me"
    assert arguments["sasl_plain_password"] == "secret"
    assert arguments["ssl_context"].check_hostname
