"""The administrative requests to Kafka, with answers checked: the client leaves that to callers."""

import asyncio
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from typing import Any, Final

import msgspec
from aiokafka import TopicPartition
from aiokafka.admin import AIOKafkaAdminClient, NewTopic
from aiokafka.admin.config_resource import ConfigResource, ConfigResourceType
from aiokafka.errors import KafkaError, for_code
from aiokafka.protocol.admin import DeleteGroupsRequest

from bridge.brokers.kafka.connection import CLOSE_TIMEOUT, client_arguments, unavailable, within
from bridge.brokers.kafka.layout import TopicSpec
from bridge.errors import BrokerUnavailable
from bridge.settings import Settings

_SETTLE_TRIES: Final = 100
_SETTLE_PAUSE: Final = 0.1
_DYNAMIC_TOPIC_CONFIG: Final = 1
"""DescribeConfigs: a value that was set on the topic itself."""
_NO_ERROR: Final = 0
_TOPIC_EXISTS: Final = 36
_UNKNOWN_TOPIC: Final = 3
_GROUP_NOT_FOUND: Final = 69
_NOT_COORDINATOR: Final = frozenset({14, 15, 16})
_NON_EMPTY_GROUP: Final = 68


class TopicState(msgspec.Struct, frozen=True):
    """One topic as it is.

    Attributes:
        partitions: how many.
        replication: replicas of each.
        configs: every setting, defaults included.
        own: those that are set on the topic itself.
    """

    partitions: int
    replication: int
    configs: dict[str, str]
    own: dict[str, str]


class Admin:
    """Administrative requests. Made by `open_admin`; every failure is `BrokerUnavailable`."""

    def __init__(self, client: AIOKafkaAdminClient) -> None:
        self._client = client

    async def brokers(self) -> int:
        """How many brokers the cluster has now."""
        with unavailable("describe the cluster"):
            return len((await self._client.describe_cluster())["brokers"])

    async def topics(self, names: Sequence[str]) -> dict[str, TopicState]:
        """Those of these topics that exist."""
        with unavailable("describe topics"):
            every = await self._client.describe_topics()
            found = {item["topic"]: item for item in every if item["topic"] in set(names)}
            if not found:
                return {}
            answers = await self._client.describe_configs(
                [ConfigResource(ConfigResourceType.TOPIC, name) for name in found]
            )
        configs: dict[str, tuple[dict[str, str], dict[str, str]]] = {}
        for answer in answers:
            for code, text, _, name, entries in answer.resources:
                _check(code, text, f"describe {name}")
                everything = {entry[0]: entry[1] for entry in entries}
                own = {e[0]: e[1] for e in entries if e[3] == _DYNAMIC_TOPIC_CONFIG}
                configs[name] = (everything, own)
        return {
            name: TopicState(
                partitions=len(item["partitions"]),
                replication=min(len(part["replicas"]) for part in item["partitions"]),
                configs=configs[name][0],
                own=configs[name][1],
            )
            for name, item in found.items()
        }

    async def partitions(self, names: Sequence[str]) -> dict[str, int]:
        """Partition counts of those of these topics that exist. Needs no right but Describe."""
        with unavailable("describe topics"):
            every = await self._client.describe_topics()
        wanted = set(names)
        return {t["topic"]: len(t["partitions"]) for t in every if t["topic"] in wanted}

    async def create(self, specs: Sequence[TopicSpec], replication: int) -> None:
        """Create topics and wait until every partition has a leader."""
        with unavailable("create topics"):
            answer = await self._client.create_topics(
                [
                    NewTopic(
                        spec.name, spec.partitions, replication, topic_configs=dict(spec.configs)
                    )
                    for spec in specs
                ]
            )
        for name, code, text in answer.topic_errors:
            if code != _TOPIC_EXISTS:
                _check(code, text, f"create {name}")
        await self._settle({spec.name for spec in specs})

    async def alter(self, name: str, state: TopicState, configs: Mapping[str, str]) -> None:
        """Change settings of a topic; those set on it otherwise stay."""
        # This request replaces all settings of the topic, so the others go with it.
        resource = ConfigResource(ConfigResourceType.TOPIC, name, {**state.own, **configs})
        with unavailable(f"alter {name}"):
            answers = await self._client.alter_configs([resource])
        for answer in answers:
            for code, text, *_ in answer.resources:
                _check(code, text, f"alter {name}")

    async def delete_topics(self, names: Sequence[str]) -> None:
        """Delete topics; one that is not there is no failure. Returns when they are gone."""
        with unavailable("delete topics"):
            answer = await self._client.delete_topics(list(names))
        for name, code in answer.topic_error_codes:
            if code != _UNKNOWN_TOPIC:
                _check(code, None, f"delete {name}")
        for _ in range(_SETTLE_TRIES):
            if not await self.partitions(names):
                return
            await asyncio.sleep(_SETTLE_PAUSE)

    async def delete_group(self, group_id: str) -> None:
        """Delete a consumer group with its positions; one that is not there is no failure."""
        code = _NO_ERROR
        for _ in range(_SETTLE_TRIES):
            with unavailable(f"delete the consumer group {group_id}"):
                node = await self._coordinator(group_id)
                answer = await self._client._client.send(  # noqa: SLF001 - no such method yet
                    node, DeleteGroupsRequest([group_id])
                )
            code = answer.results[0][1]
            if code not in _NOT_COORDINATOR:
                break
            await asyncio.sleep(_SETTLE_PAUSE)
        if code == _NON_EMPTY_GROUP:
            raise BrokerUnavailable(
                f"Kafka: the consumer group {group_id} has running members: stop them first"
            )
        if code != _GROUP_NOT_FOUND:
            _check(code, None, f"delete the consumer group {group_id}")

    async def offsets(self, group_id: str) -> dict[TopicPartition, int]:
        """What a consumer group committed; partitions without a commit are left out."""
        with unavailable(f"read the positions of {group_id}"):
            node = await self._coordinator(group_id)
            found = await self._client.list_consumer_group_offsets(
                group_id, group_coordinator_id=node
            )
        return {tp: position.offset for tp, position in found.items() if position.offset >= 0}

    async def members(self, group_id: str) -> int | None:
        """How many members a consumer group has; None where that cannot be known."""
        try:
            node = await self._coordinator(group_id)
            answers = await self._client.describe_consumer_groups([group_id], node)
        except (KafkaError, OSError, TimeoutError):
            return None
        for answer in answers:
            for item in answer.to_object()["groups"]:
                return len(item["members"]) if item["error_code"] == _NO_ERROR else None
        return None

    async def _coordinator(self, group_id: str) -> int:
        last: Exception = TimeoutError()
        for _ in range(_SETTLE_TRIES):
            try:
                return int(await self._client.find_coordinator(group_id))
            except KafkaError as error:
                # The first question on a new cluster makes Kafka create its own topic for this.
                if not error.retriable:
                    raise
                last = error
            await asyncio.sleep(_SETTLE_PAUSE)
        raise last

    async def _settle(self, names: set[str]) -> None:
        for _ in range(_SETTLE_TRIES):
            with unavailable("describe topics"):
                every = await self._client.describe_topics()
            ready = {
                item["topic"]
                for item in every
                if all(part["leader"] >= 0 for part in item["partitions"])
            }
            if names <= ready:
                return
            await asyncio.sleep(_SETTLE_PAUSE)
        raise BrokerUnavailable("Kafka: the new topics have no leaders yet; try again")


@asynccontextmanager
async def open_admin(settings: Settings) -> AsyncIterator[Admin]:
    """An administrative client.

    Raises:
        BrokerUnavailable: not reachable.
    """
    arguments = {**client_arguments(settings), "request_timeout_ms": 15_000}
    client = AIOKafkaAdminClient(**arguments)
    try:
        with unavailable("connect"):
            await client.start()
        yield Admin(client)
    finally:
        await within(CLOSE_TIMEOUT, client.close())


def _check(code: int, text: Any, doing: str) -> None:
    if code != _NO_ERROR:
        kind = for_code(code)
        raise BrokerUnavailable(f"Kafka: cannot {doing}: {text or kind.description}")
