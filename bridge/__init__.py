"""The notification bridge: from a sender's webhook to a broker, so that no notification is lost.

200 means stored: the answer is given only after the broker confirmed every notification.
Stored means handled or set aside: each group handles it, or its dead letters hold it with a reason.
Twice means once: duplicates happen, effects do not double, older never overwrites newer.
You can see it: how far each group is behind, how close the sender is to giving up, what failed.
"""

__version__ = "0.1.0"
