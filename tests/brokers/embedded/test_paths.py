"""URLs and file systems of the embedded log."""

from __future__ import annotations

from pathlib import Path

import pytest

from bridge.brokers.embedded.paths import places_of, refuse_network_file_system
from bridge.errors import ConfigurationError

MOUNTS = """\
/dev/sda1 / ext4 rw 0 0
server:/export /mnt/data nfs4 rw 0 0
/dev/sdb1 /mnt/data/local xfs rw 0 0
me@host: /mnt/two\\040words fuse.sshfs rw 0 0
//server/share /srv cifs rw 0 0
/dev/sdc1 /srv ext4 rw 0 0
"""


def test_three_slashes_are_relative_and_four_absolute(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert places_of("sqlite:///var/bridge.db").log == tmp_path / "var" / "bridge.db"
    assert places_of("sqlite:////var/lib/bridge.db").log == Path("/var/lib/bridge.db")
    assert places_of("sqlite:////a/two%20words.db").log == Path("/a/two words.db")


def test_each_group_has_a_file_beside_the_log() -> None:
    places = places_of("sqlite:////var/lib/bridge.db")
    assert places.group("crm") == Path("/var/lib/bridge.d/crm.db")
    assert places_of("sqlite:////a/log.sqlite").groups != places_of("sqlite:////a/log.db").groups


@pytest.mark.parametrize(
    "url",
    ["sqlite://", "sqlite:///", "sqlite://host/a.db", "sqlite:///a.db?mode=ro", "sqlite:///a/"],
)
def test_urls_that_name_no_file_are_refused(url: str) -> None:
    with pytest.raises(ConfigurationError, match="BRIDGE_BROKER_URL"):
        places_of(url)


@pytest.mark.parametrize("path", ["/mnt/data/bridge.db", "/mnt/two words/a/bridge.db"])
def test_network_file_systems_are_refused(path: str) -> None:
    with pytest.raises(ConfigurationError, match="network file system"):
        refuse_network_file_system(Path(path), MOUNTS)


@pytest.mark.parametrize(
    "path", ["/var/bridge.db", "/mnt/data/local/bridge.db", "/mnt/database/b.db", "/srv/bridge.db"]
)
def test_local_file_systems_are_taken(path: str) -> None:
    refuse_network_file_system(Path(path), MOUNTS)
