"""Which topics the bridge and its groups need on Kafka, and how they must be set."""

from collections.abc import Sequence
from typing import Final

import msgspec

from bridge.message import MAX_LARGE_MESSAGE_BYTES, MAX_MESSAGE_BYTES
from bridge.settings import Settings
from bridge.topics import Group, Topics

_DAY_MS: Final = 24 * 60 * 60 * 1000
RETENTION_DAYS: Final = 14
LONG_RETENTION_DAYS: Final = 30
"""For dead letters and `malformed`: people look at these."""
REPLICATION: Final = 3
SAFETY: Final = frozenset({"min.insync.replicas", "unclean.leader.election.enable"})
"""Settings without which a confirmed message could be lost."""


class TopicSpec(msgspec.Struct, frozen=True):
    """One topic as it must be.

    Attributes:
        name: full name.
        partitions: how many; a change of this number would reorder keys.
        configs: the settings that matter here; others are left as they are.
    """

    name: str
    partitions: int
    configs: dict[str, str]


def groups_topic(topics: Topics) -> str:
    """Where `apply` records the groups: name -> types, the newest record of a name counts."""
    return f"{topics.prefix}.groups"


def group_id(topics: Topics, group: str) -> str:
    """The Kafka consumer group of a group: two prefixes on one cluster stay apart."""
    return f"{topics.prefix}.{group}"


def max_bytes(topics: Topics, topic: str) -> int:
    """max.message.bytes of one topic."""
    large = topic == topics.malformed or topic.startswith(topics.dead(""))
    return MAX_LARGE_MESSAGE_BYTES if large else MAX_MESSAGE_BYTES


def replication_for(settings: Settings, brokers: int) -> int:
    """How many replicas a topic gets on a cluster of so many brokers."""
    return settings.kafka_replication or min(REPLICATION, brokers)


def wanted(settings: Settings, groups: Sequence[Group], replication: int) -> list[TopicSpec]:
    """Every topic that must be there for the ingress and these groups."""
    topics = settings.topics
    safe = {
        # Two copies before a confirm, and one broker may be away: needs three.
        "min.insync.replicas": "2" if replication >= REPLICATION else "1",
        "unclean.leader.election.enable": "false",
    }

    def spec(name: str, days: int, partitions: int, policy: str = "delete") -> TopicSpec:
        configs = {
            **safe,
            "cleanup.policy": policy,
            "max.message.bytes": str(max_bytes(topics, name)),
        }
        if "delete" in policy:
            configs["retention.ms"] = str(days * _DAY_MS)
        return TopicSpec(name, partitions, configs)

    count = settings.kafka_partitions
    specs = [
        spec(name, LONG_RETENTION_DAYS if name == topics.malformed else RETENTION_DAYS, count)
        for name in topics.published
    ]
    for group in groups:
        specs.append(spec(topics.retry(group.name), RETENTION_DAYS, count))
        # One partition: dead letters are few, and people read them in order.
        specs.append(spec(topics.dead(group.name), LONG_RETENTION_DAYS, 1, "compact,delete"))
    specs.append(spec(groups_topic(topics), RETENTION_DAYS, 1, "compact"))
    return specs
