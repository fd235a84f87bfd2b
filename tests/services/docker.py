"""Services in containers of a running Docker engine."""

from __future__ import annotations

import functools
import os
import shutil
import subprocess
from contextlib import suppress
from typing import TYPE_CHECKING

from tests.services.service import Unobtainable

if TYPE_CHECKING:
    from collections.abc import Mapping

    from tests.services.guard import Guard

WAY = "BRIDGE_TEST_WAY"
"""`docker` or `local` forces one way of having services; unset, Docker goes first."""


def usable(image: str) -> bool:
    """Whether containers of `image` can be had here; asked once per run, may pull for minutes.

    Raises Unobtainable where BRIDGE_TEST_WAY demands Docker in vain.
    """
    way = os.environ.get(WAY, "")
    if way not in {"", "docker", "local"}:
        raise Unobtainable(f"{WAY} is docker or local, not {way!r}")
    if way == "local":
        return False
    usable_here = _engine_runs() and _image_is_here(image)
    if way == "docker" and not usable_here:
        raise Unobtainable(f"{WAY}=docker, but no running Docker engine can have {image}")
    return usable_here


@functools.cache
def _engine_runs() -> bool:
    return shutil.which("docker") is not None and _succeeds("info", seconds=20)


@functools.cache
def _image_is_here(image: str) -> bool:
    return _succeeds("image", "inspect", image, seconds=20) or _succeeds(
        "pull", "--quiet", image, seconds=600
    )


def _succeeds(*arguments: str, seconds: float) -> bool:
    try:
        done = subprocess.run(
            ["docker", *arguments], capture_output=True, check=False, timeout=seconds
        )
    except subprocess.TimeoutExpired:
        return False
    return done.returncode == 0


class Container:
    """One container, made at the first start and kept, data and all, until the run ends."""

    def __init__(
        self,
        image: str,
        guard: Guard,
        *,
        ports: Mapping[int, int],
        environment: Mapping[str, str],
    ) -> None:
        """`ports` maps ports of the container to ports of this machine's loopback."""
        self._guard = guard
        # A host name of its own: RabbitMQ's data belongs to the name of its node.
        self._create = ["create", "--hostname", "service"]
        for inside, outside in ports.items():
            self._create += ["--publish", f"127.0.0.1:{outside}:{inside}"]
        for key, value in environment.items():
            self._create += ["--env", f"{key}={value}"]
        self._create.append(image)
        self._id: str | None = None
        self._paused = False

    @property
    def running(self) -> bool:
        return (
            self._id is not None
            and _docker("inspect", "--format", "{{.State.Running}}", self._id) == "true"
        )

    def start(self) -> None:
        """Start it. Being ready is for the caller to find out."""
        if self._id is None:
            self._id = _docker(*self._create)
            self._guard.watch("container", self._id)
        _docker("start", self._id)

    def stop(self) -> None:
        """End it in order; kill it if that takes more than half a minute."""
        if self._id is not None:
            self.resume()
            _docker("stop", "--time", "30", self._id)

    def kill(self) -> None:
        """SIGKILL; returns when it is gone."""
        if self.running:
            self.resume()  # Docker does not kill a paused container everywhere
            _docker("kill", self._known())
            _docker("wait", self._known())

    def discard(self) -> None:
        """Remove it, its data too."""
        if self._id is not None:
            _docker("rm", "--force", "--volumes", self._id)
            self._guard.forget("container", self._id)
            self._id = None
            self._paused = False

    def pause(self) -> None:
        """Freeze all its processes: connections stay open, nothing answers."""
        _docker("pause", self._known())
        self._paused = True

    def resume(self) -> None:
        """Nothing happens if it was not paused."""
        if self._paused:
            _docker("unpause", self._known())
            self._paused = False

    def execute(self, *command: str) -> str:
        """Run a command inside; return what it prints, raise RuntimeError when it fails."""
        return _docker("exec", self._known(), *command)

    def output(self) -> str:
        """The end of its log."""
        if self._id is None:
            return ""
        with suppress(RuntimeError):
            return _docker("logs", "--tail", "30", self._id, merge=True)
        return ""

    def _known(self) -> str:
        if self._id is None:
            raise RuntimeError("the container was never started")
        return self._id


def _docker(*arguments: str, merge: bool = False) -> str:
    done = subprocess.run(
        ["docker", *arguments],
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT if merge else subprocess.PIPE,
        text=True,
        check=False,
        timeout=120,
    )
    if done.returncode:
        raise RuntimeError(f"docker {arguments[0]}: {done.stdout}{done.stderr or ''}")
    return done.stdout.strip()
