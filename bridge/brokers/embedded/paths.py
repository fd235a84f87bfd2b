"""Where the embedded log keeps its files, and file systems that it refuses."""

import re
from pathlib import Path
from typing import Final
from urllib.parse import unquote, urlsplit

import msgspec

from bridge.errors import ConfigurationError, StorageFailed

_NETWORK: Final = frozenset(
    {
        "9p",
        "afs",
        "beegfs",
        "ceph",
        "cifs",
        "glusterfs",
        "gpfs",
        "lustre",
        "ncpfs",
        "nfs",
        "nfs4",
        "smb2",
        "smb3",
        "smbfs",
        # FUSE over a network or an object store; plain `fuseblk` is a local disk.
        "fuse.ceph-fuse",
        "fuse.gcsfuse",
        "fuse.glusterfs",
        "fuse.mount.cifs",
        "fuse.rclone",
        "fuse.s3fs",
        "fuse.sshfs",
    }
)
_OCTAL: Final = re.compile(r"\\([0-7]{3})")
_MOUNTS: Final = Path("/proc/self/mounts")


class Places(msgspec.Struct, frozen=True):
    """The files of one log.

    Attributes:
        log: `bridge.db`, written by the ingress only.
        groups: `bridge.d`, one file for each group inside.
    """

    log: Path
    groups: Path

    @property
    def lock(self) -> Path:
        """Held by the one process that writes the log."""
        return self.log.with_name(self.log.name + ".lock")

    def group(self, name: str) -> Path:
        """A group's file: its positions, leases, dead letters, replays."""
        return self.groups / f"{name}.db"


def places_of(url: str) -> Places:
    """Read `sqlite:///relative/bridge.db` or `sqlite:////absolute/bridge.db`.

    Raises:
        ConfigurationError: the URL names no file, or more than a file.
    """
    parts = urlsplit(url)
    path = unquote(parts.path.removeprefix("/"))
    if parts.scheme != "sqlite" or parts.netloc or parts.query or parts.fragment or not path:
        raise ConfigurationError(
            f"BRIDGE_BROKER_URL {url!r}: use sqlite:///bridge.db, or sqlite:////var/lib/bridge.db "
            "(four slashes) for an absolute path"
        )
    log = Path(path).absolute()
    if url.endswith("/"):
        raise ConfigurationError(f"BRIDGE_BROKER_URL {url!r} names a folder: name a file in it")
    # With its extension kept where it is not `.db`: `a.db` and `a.log` are two logs.
    folder = log.stem if log.suffix == ".db" else log.name
    return Places(log=log, groups=log.with_name(f"{folder}.d"))


def is_there(path: Path) -> bool:
    """Whether there is such a file.

    Raises:
        StorageFailed: it cannot be known, for lack of rights.
    """
    try:
        return path.exists()
    except OSError as error:
        raise StorageFailed(f"cannot look at {path}: {error}") from error


def refuse_network_file_system(path: Path, mounts: str | None = None) -> None:
    """Locks and shared memory of SQLite do not hold over a network: corruption, silently.

    Args:
        path: a file or folder that exists, or whose nearest existing ancestor counts.
        mounts: the mount table; by default this process's own, and nothing where there is none.

    Raises:
        ConfigurationError: it lies on a network file system.
    """
    if mounts is None:
        mounts = _MOUNTS.read_text(errors="replace") if _MOUNTS.exists() else ""
    real = path.resolve(strict=False)
    best, kind = Path("/"), ""
    for line in mounts.splitlines():
        fields = line.split(" ")
        if len(fields) < 3:  # noqa: PLR2004 - device, mount point, type
            continue
        # Blanks in a mount point are written as octal escapes.
        point = Path(_OCTAL.sub(lambda escape: chr(int(escape[1], 8)), fields[1]))
        # The last of several mounts on one point is the one that is seen.
        if real.is_relative_to(point) and len(point.parts) >= len(best.parts):
            best, kind = point, fields[2]
    if kind in _NETWORK:
        raise ConfigurationError(
            f"BRIDGE_BROKER_URL: {path} lies on {kind}, a network file system, where SQLite loses "
            "data: use a local disk, or Kafka or RabbitMQ"
        )
