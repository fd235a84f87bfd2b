"""How many shards a replica may hold, decided by each replica alone from the number of replicas.

RabbitMQ does not share single-active-consumer queues out: whoever registers first on a queue keeps
it. So a replica registers only where it wants to be active, gives back what is over its share, and
takes what nobody has. After each change in the number of replicas everyone goes down to the part
that all can have, so that nobody is left without; once that has settled, the remainder is taken by
whoever comes first, and nothing moves any more until replicas come or go.
"""

from typing import Final

SETTLE_SECONDS: Final = 3.0
"""Without a change in the number of replicas, before the remainder may be taken."""
STARVE_SECONDS: Final = 12.0
"""Below everybody's part, before a replica makes the others count again."""


class Sharing:
    """What one replica knows of the others.

    Args:
        shards: how many there are.
    """

    def __init__(self, shards: int) -> None:
        self._shards = shards
        self._replicas = 0
        self._since = 0.0
        self._now = 0.0
        self._starving: float | None = None

    def observe(self, replicas: int, now: float) -> None:
        """Note how many replicas there are at this time, in seconds of any clock."""
        if replicas != self._replicas:
            self._replicas = replicas
            self._since = now
        self._now = now

    @property
    def part(self) -> int:
        """How many shards every replica can have."""
        return self._shards // max(self._replicas, 1)

    @property
    def allowed(self) -> int:
        """How many shards this replica may hold now."""
        remainder = self._shards % max(self._replicas, 1)
        settled = self._now - self._since >= SETTLE_SECONDS
        # With more replicas than shards there is nothing to go down to.
        return self.part + 1 if remainder and (settled or self.part == 0) else self.part

    def starves(self, held: int) -> bool:
        """Whether this replica has been below everybody's part for too long."""
        if held >= self.part:
            self._starving = None
        elif self._starving is None:
            self._starving = self._now
        elif self._now - self._starving >= STARVE_SECONDS:
            self._starving = None
            return True
        return False
