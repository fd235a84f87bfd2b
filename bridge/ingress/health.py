"""What a role says about itself on its admin port."""

from collections.abc import Callable, Mapping
from time import monotonic


def _nothing() -> Mapping[str, object]:
    return {}


class Health:
    """The state of one role. The role fills it, the admin application reads it.

    Ready means started, not draining, not failed. The broker's state is a detail only: an unready
    pod would let the balancer answer the sender in our name.

    Attributes:
        started: set once, when the role can do its work.
        draining: set once, when the role takes no new work.
        details: called for each answer of `/health/ready`; its values must be JSON.
    """

    def __init__(self, details: Callable[[], Mapping[str, object]] = _nothing) -> None:
        self.started = False
        self.draining = False
        self.details = details
        self._failed: str | None = None
        self._live = True

    @property
    def failed(self) -> str | None:
        """Why this process was stopped by a failure, in words; None while it works."""
        return self._failed

    @property
    def ready(self) -> bool:
        """Whether it may be given work."""
        return self.started and not self.draining and self._failed is None

    @property
    def live(self) -> bool:
        """False when only a new process can help."""
        return self._live

    def fail(self, reason: str, *, restart_helps: bool) -> None:
        """Fail stop: this process does no further work. The first reason is kept.

        Args:
            reason: what happened, for an operator.
            restart_helps: whether a new process may do better (an I/O error: it opens and checks
                the store anew), so that the orchestrator should start one; False where an
                operator must decide first (a store found corrupt at start).
        """
        if self._failed is None:
            self._failed = reason
            self._live = not restart_helps


def age(moment: float | None) -> float | None:
    """Seconds since a `time.monotonic()` moment, to the millisecond; None stays None."""
    return None if moment is None else round(monotonic() - moment, 3)
