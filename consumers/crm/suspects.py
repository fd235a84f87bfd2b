"""Tells a contact that breaks the CRM from a CRM that is broken.

An outage is not poison: while the CRM is down, its failures say nothing about the contact at hand,
and nothing is set aside. Yet a contact whose data makes the CRM answer 500 would hold up its
partition for ever. What tells them apart is how the others fare in the meantime.
"""

from typing import Final

from consumers.consumer import Reject, Unavailable

TRIES: Final = 10
"""Failures in a row before a contact is suspected; with the worker's pauses, some minutes."""
_MOST: Final = 1000  # changes remembered; those of lanes that went to other replicas fall out


class Suspects:
    """What one replica knows of the changes that fail."""

    def __init__(self) -> None:
        self._successes = 0
        self._failing: dict[str, tuple[int, int]] = {}

    def succeeded(self, event_id: str) -> None:
        """The CRM took this one."""
        self._successes += 1
        self._failing.pop(event_id, None)

    def judge(self, event_id: str, failure: Unavailable) -> Unavailable | Reject:
        """What the handler is to raise for a failure that may be about this change alone.

        It is a `Reject` once the change failed `TRIES` times in a row while the CRM took as many
        others; a failure of the whole group never is.
        """
        if failure.scope == "group":
            return failure
        failures, others = self._failing.get(event_id, (0, self._successes))
        failures += 1
        taken = self._successes - others
        if failures >= TRIES and taken >= TRIES:
            del self._failing[event_id]
            return Reject(
                f"{failure.reason}, {failures} times, while the CRM took {taken} other changes"
            )
        self._failing[event_id] = (failures, others)
        if len(self._failing) > _MOST:
            del self._failing[next(iter(self._failing))]
        return failure
