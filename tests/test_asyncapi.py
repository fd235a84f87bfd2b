"""`docs/asyncapi.yaml` says what the code does: topics, headers, reasons, samples."""

from __future__ import annotations

import json
from pathlib import Path
from typing import TYPE_CHECKING, Any

import pytest
import yaml

from bridge import message as wire
from bridge.brokers.kafka import layout as kafka_layout
from bridge.brokers.rabbitmq.layout import Layout
from bridge.settings import Settings
from bridge.sources import samples
from bridge.sources.malformed import Reason
from bridge.topics import KNOWN_TYPES, Group, Topics

if TYPE_CHECKING:
    from collections.abc import Iterator

DOCUMENT = Path(__file__).parent.parent / "docs" / "asyncapi.yaml"
JSON_TYPES: dict[type, str] = {
    dict: "object",
    list: "array",
    str: "string",
    bool: "boolean",
    int: "integer",
    float: "number",
    type(None): "null",
}


@pytest.fixture(scope="module")
def document() -> dict[str, Any]:
    loaded = yaml.safe_load(DOCUMENT.read_text(encoding="utf-8"))
    assert isinstance(loaded, dict)
    return loaded


def resolve(document: dict[str, Any], node: dict[str, Any]) -> dict[str, Any]:
    """The node itself, or where its `$ref` leads."""
    while "$ref" in node:
        here: Any = document
        for step in node["$ref"].removeprefix("#/").split("/"):
            here = here[step]
        node = here
    return node


def properties(document: dict[str, Any], schema: dict[str, Any]) -> dict[str, Any]:
    """Name -> schema of every property, those of `allOf` included."""
    schema = resolve(document, schema)
    found = dict(schema.get("properties", {}))
    for part in schema.get("allOf", ()):
        found |= properties(document, part)
    return found


def references(node: object) -> Iterator[str]:
    if isinstance(node, dict):
        for name, value in node.items():
            if name == "$ref":
                yield value
            else:
                yield from references(value)
    elif isinstance(node, list):
        for value in node:
            yield from references(value)


def kafka_channels(document: dict[str, Any]) -> dict[str, dict[str, Any]]:
    """Address -> channel."""
    return {
        channel["address"]: channel
        for channel in document["channels"].values()
        if channel["servers"] == [{"$ref": "#/servers/kafka"}]
    }


def header_names(*prefixes: str) -> set[str]:
    return {
        value
        for name, value in vars(wire).items()
        if name.startswith(prefixes) and isinstance(value, str)
    }


def test_every_reference_leads_somewhere(document: dict[str, Any]) -> None:
    found = list(references(document))
    assert len(found) > 50
    for target in found:
        resolve(document, {"$ref": target})


def test_its_channels_are_the_topics(document: dict[str, Any]) -> None:
    topics = Topics()
    assert set(kafka_channels(document)) == {
        *topics.published,
        topics.dead("{group}"),
        topics.retry("{group}"),
    }


def test_every_channel_has_an_operation_and_at_least_one_message(document: dict[str, Any]) -> None:
    served = [operation["channel"]["$ref"] for operation in document["operations"].values()]
    assert sorted(served) == sorted(f"#/channels/{name}" for name in document["channels"])
    assert all(channel["messages"] for channel in document["channels"].values())


def test_kafka_topics_are_set_as_it_says(document: dict[str, Any]) -> None:
    groups = [Group("crm", frozenset(KNOWN_TYPES))]
    specs = {spec.name: spec for spec in kafka_layout.wanted(Settings(), groups, 3)}
    for address, channel in kafka_channels(document).items():
        spec = specs[address.replace("{group}", "crm")]
        said = resolve(document, channel["bindings"])["kafka"]
        configuration = said["topicConfiguration"]
        assert said["partitions"] == spec.partitions
        assert ",".join(configuration["cleanup.policy"]) == spec.configs["cleanup.policy"]
        assert str(configuration["retention.ms"]) == spec.configs["retention.ms"]
        assert str(configuration["max.message.bytes"]) == spec.configs["max.message.bytes"]


def test_the_rabbitmq_channel_names_every_routing_word_and_the_exchange(
    document: dict[str, Any],
) -> None:
    layout = Layout(Settings())
    channel = document["channels"]["routed"]
    words = channel["parameters"]["topic"]["enum"]
    assert words == [layout.word(topic) for topic in Topics().published]
    exchange = next(e for e in layout.exchanges() if e.name == layout.exchange)
    said = channel["bindings"]["amqp"]["exchange"]
    assert (said["name"], said["type"]) == (exchange.name, exchange.type)
    assert said["durable"] is True


def test_its_headers_are_the_constants(document: dict[str, Any]) -> None:
    schemas = document["components"]["schemas"]
    ordinary = header_names("CE_") - {wire.CE_MALFORMEDREASON}
    others = {wire.CONTENT_TYPE, wire.TRACEPARENT}
    assert set(properties(document, schemas["Headers"])) == ordinary | others
    assert set(properties(document, schemas["MalformedHeaders"])) == (
        ordinary | others | {wire.CE_MALFORMEDREASON}
    )
    # These two are the Kafka adapter's own: its record has another key and topic.
    on_dead_letters = header_names("DEAD_") | {"bridge_topic", "bridge_key"}
    assert set(properties(document, schemas["DeadLetterHeaders"])) == on_dead_letters
    assert set(properties(document, schemas["RabbitMQDeadLetterHeaders"])) == {
        name.replace("_", "-", 1) for name in header_names("DEAD_") | {"bridge_topic"}
    }
    assert set(properties(document, schemas["ReplayHeaders"])) == {wire.REPLAYED_TIME}
    on_rabbitmq = {name.replace("ce_", "ce-", 1) for name in header_names("CE_")}
    assert set(properties(document, schemas["RabbitMQHeaders"])) == (
        on_rabbitmq | {wire.TRACEPARENT, "bridge-key"}
    )


def test_its_reasons_are_those_of_malformed_bodies(document: dict[str, Any]) -> None:
    schema = properties(document, document["components"]["schemas"]["MalformedHeaders"])
    assert schema[wire.CE_MALFORMEDREASON]["enum"] == [str(reason) for reason in Reason]


@pytest.mark.parametrize("type_", KNOWN_TYPES)
def test_the_schema_of_each_type_knows_every_field_of_the_sample(
    document: dict[str, Any], type_: str
) -> None:
    channel = kafka_channels(document)[Topics().of(type_)]
    (message,) = channel["messages"].values()
    payload = resolve(document, message)["payload"]
    notification = json.loads(samples.sample(type_))[0]
    check(document, payload, notification, type_)


def check(document: dict[str, Any], schema: dict[str, Any], value: object, where: str) -> None:
    """Every field is described, and of a JSON type that its description allows."""
    schema = resolve(document, schema)
    if "type" in schema:
        allowed = schema["type"] if isinstance(schema["type"], list) else [schema["type"]]
        assert JSON_TYPES[type(value)] in allowed, where
    if isinstance(value, dict):
        known = properties(document, schema)
        for name, part in value.items():
            assert name in known, f"{where}.{name} is not described"
            check(document, known[name], part, f"{where}.{name}")
    if isinstance(value, list):
        for part in value:
            check(document, schema["items"], part, f"{where}[]")
