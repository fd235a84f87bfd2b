"""The door: how much may be in flight, decided before a byte of the body is read."""

from types import TracebackType
from typing import Final, Self

from bridge.errors import Overloaded, TooLarge

UNKNOWN_LENGTH: Final = -1
"""The body comes in chunks and names no length."""


class Admission:
    """The caps of one ingress. What is admitted holds its place until its answer is known.

    Bytes are those of the bodies. A request in flight holds its body and its messages, so memory
    is about twice the budget at most, and a third time while a body in several parts is joined.

    Args:
        max_body_bytes: the largest body; what a chunked body reserves.
        in_flight_bytes: all bodies in flight together.
        in_flight_requests: requests in flight.
    """

    def __init__(
        self, *, max_body_bytes: int, in_flight_bytes: int, in_flight_requests: int
    ) -> None:
        self.max_body_bytes: Final = max_body_bytes
        self.free_bytes = in_flight_bytes
        self.free_requests = in_flight_requests
        self._all_bytes = in_flight_bytes
        self._all_requests = in_flight_requests

    @property
    def bytes_in_flight(self) -> int:
        """Bytes reserved now."""
        return self._all_bytes - self.free_bytes

    @property
    def requests_in_flight(self) -> int:
        """Requests that hold a place now."""
        return self._all_requests - self.free_requests

    def admit(self, length: int) -> "Place":
        """Reserve a place for one request; leaving the place gives everything back.

        Args:
            length: the body's Content-Length, or UNKNOWN_LENGTH.

        Raises:
            TooLarge: over the cap, whatever is free.
            Overloaded: not enough is free now.
        """
        if length > self.max_body_bytes:
            raise TooLarge(f"Content-Length {length}")
        reserved = self.max_body_bytes if length == UNKNOWN_LENGTH else length
        if not self.free_requests:
            raise Overloaded("requests")
        if reserved > self.free_bytes:
            raise Overloaded("bytes")
        self.free_requests -= 1
        self.free_bytes -= reserved
        return Place(self, reserved)


class Place:
    """One request's share of the caps. Entered once; made by `Admission.admit` only."""

    __slots__ = ("_admission", "reserved")

    def __init__(self, admission: Admission, reserved: int) -> None:
        self._admission = admission
        self.reserved = reserved

    def shrink(self, size: int) -> None:
        """Give back what the body turned out not to need."""
        self._admission.free_bytes += self.reserved - size
        self.reserved = size

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        """Give everything back, whatever happened."""
        self._admission.free_bytes += self.reserved
        self._admission.free_requests += 1
