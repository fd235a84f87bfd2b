"""The steps of a topology plan, and what operators are told, in words."""

from collections.abc import Sequence

from bridge.brokers.base import Change
from bridge.brokers.rabbitmq.layout import Binding, Exchange, Queue, Thing
from bridge.topics import Group


def creation(thing: Thing) -> Change:
    """The step that makes it."""
    if isinstance(thing, Exchange):
        return Change("create", "exchange", thing.name, thing.type)
    if isinstance(thing, Queue):
        detail = ", ".join(f"{name}={value}" for name, value in thing.arguments.items())
        return Change("create", "queue", thing.name, detail)
    return Change("create", "binding", thing.queue, f"to {thing.exchange} with {thing.key!r}")


def removal(binding: Binding) -> Change:
    """The step that takes a binding away."""
    return Change("remove", "binding", binding.queue, f"to {binding.exchange} with {binding.key!r}")


def name_of(thing: Thing) -> str:
    """What to call it."""
    return thing.queue if isinstance(thing, Binding) else thing.name


def other_form(kind: str, name: str) -> str:
    """What to do about something that cannot be changed in place."""
    return (
        f"the {kind} {name} is there in another form than the bridge needs, and cannot be changed "
        "in place: stop the services, let its group read it empty, delete it by hand, then run "
        "`bridge topology apply`"
    )


def command(groups: Sequence[Group]) -> str:
    """The command that makes what these groups need."""
    built_in = {"crm", "suppression", "alerts"}
    if all(group.name in built_in for group in groups):
        return "`bridge topology apply`"
    return "`bridge topology apply module:consumer` with the consumer you start"
