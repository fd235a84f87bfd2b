"""Run one service in the foreground until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys
from contextlib import suppress

from tests.services import kafka, postgres, rabbitmq
from tests.services.service import Service, Unobtainable
from tests.services.workspace import Workspace


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.services", description=__doc__)
    parser.add_argument("service", choices=["kafka", "rabbitmq", "postgres"])
    parser.add_argument("--port", type=int, help="default: a free one")
    parser.add_argument("--management-port", type=int, help="RabbitMQ only; default: a free one")
    chosen = parser.parse_args()
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    with Workspace() as workspace, suppress(KeyboardInterrupt):
        try:
            service = _make(workspace, chosen)
        except (Unobtainable, OSError) as error:
            sys.exit(str(error))
        service.start()
        _introduce(service)
        signal.pause()


def _make(workspace: Workspace, chosen: argparse.Namespace) -> Service:
    match chosen.service:
        case "kafka":
            return kafka.obtain(workspace, own=True, port=chosen.port)
        case "rabbitmq":
            return rabbitmq.obtain(
                workspace, own=True, port=chosen.port, management_port=chosen.management_port
            )
        case _:
            return postgres.obtain(workspace, own=True, port=chosen.port)


def _introduce(service: Service) -> None:
    lines = [service.url]
    if isinstance(service, rabbitmq.RabbitMQ):
        lines.append(service.management_url)
    sys.stdout.write("".join(f"{line}\n" for line in lines))
    sys.stdout.flush()
    sys.stderr.write("Ctrl-C to stop\n")


if __name__ == "__main__":
    main()
