"""Topics and the record of groups on Kafka. Only this creates them; services verify."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager

import msgspec
import structlog

from bridge.brokers.base import Change
from bridge.brokers.kafka import layout
from bridge.brokers.kafka.admin import Admin, TopicState, open_admin
from bridge.brokers.kafka.layout import TopicSpec, groups_topic
from bridge.brokers.kafka.publisher import open_publisher
from bridge.brokers.kafka.reading import scan
from bridge.errors import BrokerUnavailable, PublishError, TopologyMissing
from bridge.settings import Settings
from bridge.topics import Group

_log = structlog.get_logger()


class _Recorded(msgspec.Struct, frozen=True):
    """The value of a group's record."""

    types: list[str]
    tests: bool = False


class KafkaTopology:
    """`Topology` on Kafka."""

    def __init__(self, settings: Settings, admin: Admin) -> None:
        self._settings = settings
        self._admin = admin

    async def plan(self, groups: Sequence[Group]) -> Sequence[Change]:
        """See `Topology`.

        Raises:
            TopologyMissing: a topic has another number of partitions.
        """
        recorded = {group.name: group for group in await self.groups()}
        everyone = {**recorded, **{group.name: group for group in groups}}
        brokers = await self._admin.brokers()
        replication = layout.replication_for(self._settings, brokers)
        there, specs = await self._compare(list(everyone.values()), replication)
        changes = []
        for spec in specs:
            state = there.get(spec.name)
            if state is None:
                changes.append(_creation(spec, replication))
            elif different := _different(spec, state):
                changes.append(Change("alter", "topic", spec.name, _text(different)))
        changes += [_recording(g, recorded) for g in groups if recorded.get(g.name) != g]
        return changes

    async def apply(self, groups: Sequence[Group]) -> Sequence[Change]:
        """See `Topology`."""
        changes = await self.plan(groups)
        if not changes:
            return changes
        replication = layout.replication_for(self._settings, await self._admin.brokers())
        everyone = {group.name: group for group in (*await self.groups(), *groups)}
        there, specs = await self._compare(list(everyone.values()), replication)
        if missing := [spec for spec in specs if spec.name not in there]:
            _say(replication)
            await self._admin.create(missing, replication)
        for spec in specs:
            if (state := there.get(spec.name)) and (different := _different(spec, state)):
                await self._admin.alter(spec.name, state, different)
        named = {change.name for change in changes if change.kind == "group"}
        await self._record({group.name: group for group in groups if group.name in named})
        return changes

    async def remove(self, group: str) -> Sequence[Change]:
        """See `Topology`.

        Raises:
            BrokerUnavailable: not reachable, or replicas of the group are running.
        """
        topics = self._settings.topics
        names = [topics.retry(group), topics.dead(group)]
        there = await self._admin.partitions(names)
        recorded = {item.name for item in await self.groups()}
        if not there and group not in recorded:
            return []
        await self._admin.delete_group(layout.group_id(topics, group))
        if there:
            await self._admin.delete_topics(list(there))
        if group in recorded:
            await self._record({group: None})
        gone = [Change("remove", "topic", name) for name in names if name in there]
        return [*gone, Change("remove", "group", group, "with its positions")]

    async def verify(self, groups: Sequence[Group]) -> None:
        """See `Topology`."""
        count = self._settings.kafka_partitions
        specs = layout.wanted(self._settings, groups, 1)
        there = await self._admin.partitions([spec.name for spec in specs])
        if missing := [spec.name for spec in specs if spec.name not in there]:
            raise TopologyMissing(
                f"Kafka has no topic {', '.join(missing)}: run {_command(groups)}"
            )
        for spec in specs:
            if there[spec.name] != spec.partitions:
                raise TopologyMissing(_other_count(spec, there[spec.name], count))
        recorded = {group.name: group for group in await self.groups()}
        for group in groups:
            known = recorded.get(group.name)
            if known is None or group.types - known.types or group.tests > known.tests:
                raise TopologyMissing(
                    f"the group {group.name} is not recorded with all its types: "
                    f"run {_command([group])}"
                )
        await self.check_safety(groups)

    async def check_safety(self, groups: Sequence[Group] = ()) -> None:
        """Say aloud where a confirm means less than it should, and refuse what apply can mend.

        Without the right to read configs it says that it cannot know.

        Raises:
            TopologyMissing: a confirm could come from one copy only, though there are three.
        """
        specs = layout.wanted(self._settings, groups, layout.REPLICATION)
        try:
            there = await self._admin.topics([spec.name for spec in specs])
        except BrokerUnavailable as error:
            _log.warning("kafka_safety_unknown", error=str(error))
            return
        fewest = min((state.replication for state in there.values()), default=layout.REPLICATION)
        _say(fewest)
        for spec in specs:
            state = there.get(spec.name)
            if state is None or state.replication < layout.REPLICATION:
                continue
            if unsafe := {n: v for n, v in _different(spec, state).items() if n in layout.SAFETY}:
                raise TopologyMissing(
                    f"the topic {spec.name} must have {_text(unsafe)}: run {_command(groups)}"
                )

    async def groups(self) -> Sequence[Group]:
        """See `Topology`."""
        found: dict[str, Group] = {}
        try:
            async for record in scan(self._settings, groups_topic(self._settings.topics)):
                name = (record.key or b"").decode()
                if record.value is None:
                    found.pop(name, None)
                else:
                    value = msgspec.json.decode(record.value, type=_Recorded)
                    found[name] = Group(name, frozenset(value.types), value.tests)
        except TopologyMissing:
            return []
        return sorted(found.values(), key=lambda group: group.name)

    async def _compare(
        self, groups: Sequence[Group], replication: int
    ) -> tuple[dict[str, TopicState], list[TopicSpec]]:
        """What is there, and what must be, given the replicas that existing topics have."""
        fresh = layout.wanted(self._settings, groups, replication)
        there = await self._admin.topics([spec.name for spec in fresh])
        specs = []
        for index, spec in enumerate(fresh):
            state = there.get(spec.name)
            if state is None:
                specs.append(spec)
                continue
            if state.partitions != spec.partitions:
                raise TopologyMissing(
                    _other_count(spec, state.partitions, self._settings.kafka_partitions)
                )
            specs.append(layout.wanted(self._settings, groups, state.replication)[index])
        return there, specs

    async def _record(self, groups: dict[str, Group | None]) -> None:
        """Write the records of groups; None takes one away."""
        topics = self._settings.topics
        name = groups_topic(topics)
        values: dict[str, bytes | None] = {
            key: None
            if group is None
            else msgspec.json.encode(_Recorded(sorted(group.types), group.tests))
            for key, group in groups.items()
        }
        try:
            async with open_publisher(
                self._settings, [name], lambda topic: layout.max_bytes(topics, topic)
            ) as publisher:
                await publisher.write([(name, k.encode(), v, ()) for k, v in values.items()])
        except PublishError as error:
            raise BrokerUnavailable(f"the groups are not recorded: {error}") from error


@asynccontextmanager
async def open_topology(settings: Settings) -> AsyncIterator[KafkaTopology]:
    """Topology, over one administrative connection.

    Raises:
        BrokerUnavailable: not reachable.
    """
    async with open_admin(settings) as admin:
        yield KafkaTopology(settings, admin)


def _creation(spec: TopicSpec, replication: int) -> Change:
    detail = f"{spec.partitions} partitions, {replication} replicas, {_text(spec.configs)}"
    return Change("create", "topic", spec.name, detail)


def _recording(group: Group, recorded: dict[str, Group]) -> Change:
    tests = ", and tests" if group.tests else ""
    return Change(
        "alter" if group.name in recorded else "create",
        "group",
        group.name,
        f"reads {', '.join(sorted(group.types))}{tests}",
    )


def _different(spec: TopicSpec, state: TopicState) -> dict[str, str]:
    # Kafka may hand back `delete,compact` for `compact,delete`.
    return {
        name: value
        for name, value in spec.configs.items()
        if set(state.configs.get(name, "").split(",")) != set(value.split(","))
    }


def _text(configs: dict[str, str]) -> str:
    return ", ".join(f"{name}={value}" for name, value in configs.items())


def _other_count(spec: TopicSpec, found: int, count: int) -> str:
    if spec.partitions != count:
        return f"the topic {spec.name} has {found} partitions and must have {spec.partitions}"
    return (
        f"the topic {spec.name} has {found} partitions, the settings say {count}: set "
        f"BRIDGE_KAFKA_PARTITIONS={found}, the number of all topics under this prefix. It is not "
        "changed in place: keys would move to other partitions and lose their order"
    )


def _command(groups: Sequence[Group]) -> str:
    built_in = {"crm", "suppression", "alerts"}
    if all(group.name in built_in for group in groups):
        return "`bridge topology apply`"
    return "`bridge topology apply module:consumer` with the consumer you start"


def _say(replication: int) -> None:
    if replication < layout.REPLICATION:
        _log.warning(
            "kafka_not_replicated",
            replicas=replication,
            meaning="a confirmed message lies on one broker only: fine for a trial, not beyond",
        )
