"""The alerts consumer in its place: what the sender posts, through log and worker, to the sink."""

import socket
from datetime import UTC, datetime
from pathlib import Path

from pydantic import SecretStr

from bridge.settings import Settings
from bridge.sources.samples import notification as sample
from bridge.topics import KNOWN_TYPES
from consumers import alerts as alerts_consumer
from tests.consumers.alerts.test_alerts import delivered, noon_zone, posted
from tests.consumers.crm.pipeline import at_work
from tests.consumers.crm.server import crm_server


async def test_the_eight_samples_as_tests_page_nobody_and_a_dead_sink_holds_up_nothing(
    tmp_path: Path, sqlite_url: str
) -> None:
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    settings = Settings(
        broker_url=SecretStr(f"sqlite:///{tmp_path}/bridge.db"),
        database_url=SecretStr(sqlite_url),
        alert_webhook_url=SecretStr(f"http://127.0.0.1:{port}/"),
        alert_day_zone=noon_zone(),
        embedded_min_free_bytes=0,
    )
    now = datetime.now(UTC)
    tests = [sample(type_, id=f"test-{type_}", at=now) for type_ in KNOWN_TYPES]
    real = [
        sample(type_, id=f"{type_}-{number}", at=now, contact=number, test=False)
        for number in range(10)
        for type_ in KNOWN_TYPES
    ]
    async with at_work(alerts_consumer.consumer(settings), settings) as pipeline:
        await pipeline.post(tests)
        await pipeline.post(real)
        await pipeline.post(real)  # the sender repeats it
        await pipeline.all_acked()  # though the sink is down
        assert await pipeline.dead() == []
        with crm_server(port) as sink:
            await delivered(sqlite_url, 14)

    steps = sorted((page["type"], page["error"], page["step"] or 0) for page in posted(sink))
    assert steps == [
        *[("contact_complaint", "complaint", 0)] * 10,
        ("sending_Bounce", "hard", 1),
        ("sending_Bounce", "hard", 10),
        ("sending_ProductionError", "NoContent", 1),
        ("sending_ProductionError", "NoContent", 10),
    ]
