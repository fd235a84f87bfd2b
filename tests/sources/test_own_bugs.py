"""A bug of the bridge's own must not cost a notification."""

from datetime import UTC, datetime

from bridge import message as wire
from bridge.sources.dialog_insight import DialogInsight
from bridge.topics import Topics


class BrokenTopics(Topics):
    """Stands for a bug of ours that some body uncovers."""

    def of(self, type_: str) -> str:
        raise ZeroDivisionError(type_)


def test_what_the_bridge_itself_fails_on_is_kept_and_its_neighbours_go_on() -> None:
    source = DialogInsight(BrokenTopics())
    real, test = b'{"type": "contact_created"}', b'{"type": "contact_created", "isTest": true}'

    first, second = source.messages(b"[" + real + b"," + test + b"]", datetime.now(UTC))

    assert (first.topic, first.body) == ("notifications.malformed", real)
    assert first.text(wire.CE_MALFORMEDREASON) == "bridge-error"
    assert (second.topic, second.body) == ("notifications.test", test)
