"""Run one service in the foreground until Ctrl-C."""

from __future__ import annotations

import argparse
import signal
import sys

from tests.services import kafka, postgres, rabbitmq
from tests.services.service import Service, Unobtainable
from tests.services.workspace import Workspace


def main() -> int:
    parser = argparse.ArgumentParser(prog="python -m tests.services", description=__doc__)
    parser.add_argument("service", choices=["kafka", "rabbitmq", "postgres"])
    parser.add_argument("--port", type=int, help="default: a free one")
    parser.add_argument("--management-port", type=int, help="RabbitMQ only; default: a free one")
    chosen = parser.parse_args()
    signals = {signal.SIGINT, signal.SIGTERM}
    # Blocked before anything starts, so that Ctrl-C during the start still ends in order.
    signal.pthread_sigmask(signal.SIG_BLOCK, signals)
    with Workspace() as workspace:
        try:
            service = _make(workspace, chosen)
        except (Unobtainable, OSError) as error:
            print(error, file=sys.stderr)
            return 1
        service.start()
        _introduce(service)
        signal.sigwait(signals)
        service.stop()
    return 0


def _make(workspace: Workspace, chosen: argparse.Namespace) -> Service:
    match chosen.service:
        case "kafka":
            return kafka.local(workspace, chosen.port)
        case "rabbitmq":
            return rabbitmq.local(workspace, chosen.port, chosen.management_port)
        case _:
            return postgres.local(workspace, chosen.port)


def _introduce(service: Service) -> None:
    print(service.url, flush=True)
    if isinstance(service, rabbitmq.RabbitMQ):
        print(service.management_url, flush=True)
    print("Ctrl-C to stop", file=sys.stderr, flush=True)


if __name__ == "__main__":
    sys.exit(main())
