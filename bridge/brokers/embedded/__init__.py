"""The embedded log: SQLite files on this machine, for a first run and for small installations.

`bridge.db` is the log. Only the ingress writes it, group by group, each synced before it is
confirmed. `bridge.d/<group>.db` holds what belongs to one group: positions, leases, dead letters,
replays; that group's workers and the command line write it, in short transactions.
"""

from bridge.brokers.embedded.broker import EmbeddedBroker

__all__ = ["EmbeddedBroker"]
