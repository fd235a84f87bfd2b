"""Every failure the bridge names.

BridgeError
├── ConfigurationError          a setting cannot work; the message says what to set
├── RequestRefused              the ingress refuses a request; carries the HTTP status
│   ├── NotAuthentic            404  wrong source or credentials
│   ├── MethodNotAllowed        405
│   ├── TooSlow                 408  headers or body did not arrive in time
│   ├── TooLarge                413  over the hard size cap
│   ├── UnsupportedEncoding     415  Content-Encoding other than identity
│   └── Overloaded              503  over the in-flight cap, or draining
├── PublishError
│   ├── PublishRejected         certainly not stored
│   └── PublishUnconfirmed      may be stored: the sender will repeat it
├── BrokerError
│   ├── BrokerUnavailable       not reachable, or it refused us
│   ├── TopologyMissing         topics, queues or bindings are not there; says the command to run
│   ├── LaneLost                this replica no longer owns the lane; its deliveries come again
│   ├── NotSupported            this broker cannot do it; says which can
│   └── StorageFailed           the embedded log cannot be trusted: fail stop
└── StoreError
    └── SchemaOutOfDate         the consumers' database needs `bridge db upgrade`
"""

from typing import ClassVar


class BridgeError(Exception):
    """Root of all failures that the bridge names."""


class ConfigurationError(BridgeError):
    """A setting cannot work. The message says what to set."""


class RequestRefused(BridgeError):
    """The ingress refuses a request.

    Attributes:
        status: the HTTP status of the answer.
    """

    status: ClassVar[int] = 503


class NotAuthentic(RequestRefused):
    """Wrong source or credentials. The answer never says which."""

    status = 404


class MethodNotAllowed(RequestRefused):
    """Neither POST nor, with the right token, GET or HEAD."""

    status = 405


class TooSlow(RequestRefused):
    """Headers or body did not arrive within their deadline."""

    status = 408


class TooLarge(RequestRefused):
    """The body is over the hard size cap."""

    status = 413


class UnsupportedEncoding(RequestRefused):
    """The body has a Content-Encoding other than identity."""

    status = 415


class Overloaded(RequestRefused):
    """Over the in-flight cap, or draining. The sender repeats the request."""

    status = 503


class PublishError(BridgeError):
    """A publish did not end with the broker's confirmation of every message."""


class PublishRejected(PublishError):
    """Certainly not stored."""


class PublishUnconfirmed(PublishError):
    """May be stored. Never to be treated as not stored."""


class BrokerError(BridgeError):
    """The broker, or our hold on it, failed outside a publish."""


class BrokerUnavailable(BrokerError):
    """The broker cannot be reached, or refused the connection."""


class TopologyMissing(BrokerError):
    """Topics, queues or bindings are not as they must be. Says the command that mends it."""


class LaneLost(BrokerError):
    """This replica no longer owns the lane. What it did not ack is delivered again."""


class NotSupported(BrokerError):
    """This broker cannot do it. The message says which can, or what to do instead."""


class StorageFailed(BrokerError):
    """The embedded log cannot be trusted (I/O error, checksum, wrong pragma): fail stop."""


class StoreError(BridgeError):
    """The consumers' database failed."""


class SchemaOutOfDate(StoreError):
    """The consumers' database needs `bridge db upgrade`."""
