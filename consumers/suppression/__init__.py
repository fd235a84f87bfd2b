"""The suppression list: who must not be contacted, in which scope, and why.

`rules` says how a notification changes it, as pure functions; `recording` says the same in SQL;
`list` answers questions; `handlers` is the consumer.
"""

from consumers.suppression.handlers import consumer
from consumers.suppression.list import Entry, Page, Verdict, check, page

__all__ = ["Entry", "Page", "Verdict", "check", "consumer", "page"]
