"""`bridge send`: sample notifications of any of the eight types."""

import asyncio
import json
import time
import uuid
from datetime import datetime
from typing import TYPE_CHECKING, Annotated

import typer

from bridge.cli.output import emit_json, say

if TYPE_CHECKING:
    import httpx2

_TIMEOUT = 15.0  # seconds: what the sender waits


def send(
    types: Annotated[
        list[str] | None, typer.Argument(help="Types, e.g. contact_optout.", show_default=False)
    ] = None,
    *,
    all_: Annotated[bool, typer.Option("--all", help="All eight types.")] = False,
    real: Annotated[
        bool, typer.Option("--real", help="Not marked as tests: they take effect.")
    ] = False,
    email: Annotated[
        str, typer.Option("--email", help="The contact's address.")
    ] = "jane.doe@example.com",
    contact: Annotated[int, typer.Option("--contact", help="The contact's id.")] = 1,
    count: Annotated[int, typer.Option("--count", "-n", min=1, help="Of each type.")] = 1,
    rate: Annotated[
        float, typer.Option("--rate", min=0, help="Requests a second; 0: as fast.")
    ] = 0,
    to: Annotated[
        str, typer.Option("--to", help="The webhook URL; by default this machine's.")
    ] = "",
    as_json: Annotated[bool, typer.Option("--json", help="One JSON object a line.")] = False,
) -> None:
    """Post sample notifications as the sender would, marked as tests unless --real.

    Examples:
      bridge send contact_optout
      bridge send --all --real
      bridge send contact_created --real --count 100 --rate 10
    """
    from bridge.cli.webhook_url import local_url  # noqa: PLC0415
    from bridge.errors import ConfigurationError  # noqa: PLC0415
    from bridge.settings import load_settings  # noqa: PLC0415
    from bridge.topics import KNOWN_TYPES  # noqa: PLC0415

    if bool(types) == all_:
        raise ConfigurationError(f"name types, or say --all: {', '.join(KNOWN_TYPES)}")
    if unknown := set(types or ()) - set(KNOWN_TYPES):
        raise ConfigurationError(
            f"no sample of {', '.join(sorted(unknown))}: there is {', '.join(KNOWN_TYPES)}"
        )
    chosen = list(KNOWN_TYPES) if all_ else list(types or ())
    url = to or local_url(load_settings())

    async def run() -> int:
        import httpx2  # noqa: PLC0415

        failures = 0
        async with httpx2.AsyncClient(timeout=_TIMEOUT) as client:
            started = time.monotonic()
            for number in range(count * len(chosen)):
                if rate:
                    await asyncio.sleep(max(0.0, started + number / rate - time.monotonic()))
                type_ = chosen[number % len(chosen)]
                status = await _post(client, url, type_, real=real, contact=contact, email=email)
                failures += status != httpx2.codes.OK
                _report(type_, status, real=real, as_json=as_json)
        return failures

    if failures := asyncio.run(run()):
        say(f"{failures} not answered with 200: the sender would repeat them.", style="red")
        raise typer.Exit(1)


async def _post(
    client: "httpx2.AsyncClient", url: str, type_: str, *, real: bool, contact: int, email: str
) -> int:
    """Post one sample; returns the HTTP status, or 0 where there was no answer."""
    import httpx2  # noqa: PLC0415

    from bridge.sources import samples  # noqa: PLC0415

    notification = samples.notification(
        type_,
        id=str(uuid.uuid4()),
        at=datetime.now().astimezone(),
        contact=contact,
        email=email,
        test=not real,
    )
    body = json.dumps([notification]).encode()
    try:
        answer = await client.post(url, content=body, headers={"content-type": "application/json"})
    except httpx2.TransportError as error:
        say(f"{type_}: no answer: {error}", style="red")
        return 0
    return answer.status_code


def _report(type_: str, status: int, *, real: bool, as_json: bool) -> None:
    if as_json:
        emit_json({"type": type_, "status": status, "real": real})
    elif status:
        mark = "real" if real else "test"
        say(f"{type_} ({mark}): {status}", style="green" if status == 200 else "red")  # noqa: PLR2004
