"""Topic names, and which of them a group reads."""

from __future__ import annotations

import pytest

from bridge.errors import ConfigurationError
from bridge.topics import KNOWN_TYPES, Group, Topics


def test_each_known_type_has_a_topic_of_its_own() -> None:
    topics = Topics()

    assert len(KNOWN_TYPES) == 8
    for name in KNOWN_TYPES:
        assert topics.of(name) == f"notifications.{name}"


def test_other_types_are_unknown_unless_they_are_listed() -> None:
    assert Topics().of("sms_sent") == "notifications.unknown"
    assert Topics("x.y", ("sms_sent",)).of("sms_sent") == "x.y.sms_sent"


def test_a_type_listed_twice_is_one_type() -> None:
    assert Topics("p", ("contact_optin", "new", "new")).types == (*KNOWN_TYPES, "new")


def test_what_the_ingress_publishes_to_is_complete_and_without_repeats() -> None:
    published = Topics("p", ("new",)).published

    assert len(published) == len(set(published)) == 8 + 1 + 3
    assert {"p.unknown", "p.test", "p.malformed", "p.new"} < set(published)


def test_dead_letters_and_replays_are_named_by_group() -> None:
    assert Topics("p").dead("crm") == "p.dead.crm"
    assert Topics("p").retry("crm") == "p.retry.crm"


def test_a_group_reads_its_types_and_tests_only_if_it_asks() -> None:
    topics = Topics("p")
    types = frozenset({"contact_optout", "contact_optin", "sms_sent", "fax_sent"})

    assert topics.read_by(Group("g", types)) == ("p.contact_optin", "p.contact_optout", "p.unknown")
    assert "p.test" in topics.read_by(Group("g", types, tests=True))


@pytest.mark.parametrize("prefix", ["", ".", "a.", ".a", "a..b", "a b", "a/b", "é", "x" * 81])
def test_a_prefix_that_no_broker_could_carry_is_refused(prefix: str) -> None:
    with pytest.raises(ConfigurationError, match="topic prefix"):
        Topics(prefix)


@pytest.mark.parametrize(
    "name", ["", "a.b", "a b", "x" * 101, "test", "unknown", "malformed", "dead", "retry"]
)
def test_a_type_that_no_topic_could_have_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="cannot have a topic"):
        Topics("p", (name,))


@pytest.mark.parametrize("name", ["", "a.b", "a b", "x" * 61, "é"])
def test_a_group_name_that_no_broker_could_carry_is_refused(name: str) -> None:
    with pytest.raises(ConfigurationError, match="group name"):
        Group(name, frozenset())
