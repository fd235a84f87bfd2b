"""The Compose file, read by Docker Compose itself; no engine is needed."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

from tests.deploy.repository import ROOT

if TYPE_CHECKING:
    from collections.abc import Mapping

Service = dict[str, Any]


class Compose:
    """Runs `docker compose config` in a folder that holds nothing but our file and a .env.

    Attributes:
        binary: Docker Compose itself.
    """

    def __init__(self, binary: Path) -> None:
        self.binary = binary

    def services(
        self,
        *profiles: str,
        dotenv: str | None = None,
        environment: Mapping[str, str] | None = None,
    ) -> dict[str, Service]:
        """What `up` would start, by service, everything resolved.

        Args:
            profiles: named on the command line.
            dotenv: the text of a .env beside the file.
            environment: variables of the user's shell.
        """
        with tempfile.TemporaryDirectory() as name:
            folder = Path(name)
            shutil.copy(ROOT / "docker-compose.yml", folder)
            if dotenv is not None:
                (folder / ".env").write_text(dotenv, encoding="utf-8")
            options = [option for profile in profiles for option in ("--profile", profile)]
            done = subprocess.run(
                [str(self.binary), *options, "config", "--format", "json"],
                cwd=folder,
                # Not our own environment: a COMPOSE_ or BRIDGE_ variable of it would count.
                env={"PATH": os.environ["PATH"], "HOME": name, **(environment or {})},
                capture_output=True,
                text=True,
                check=False,
            )
        assert not done.returncode, done.stderr
        services: dict[str, Service] = json.loads(done.stdout)["services"]
        return services
