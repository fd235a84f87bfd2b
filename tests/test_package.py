"""The wheel: what is in it, and that it works where the repository is not."""

from __future__ import annotations

import subprocess
import sys
import sysconfig
import venv
import zipfile
from pathlib import Path

import pytest

from bridge import __version__
from bridge.topics import KNOWN_TYPES

ROOT = Path(__file__).parent.parent
_DEADLINE = 120.0  # seconds


@pytest.fixture(scope="module")
def wheel(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Built from the sources as they are; the build backend is that of this environment."""
    folder = tmp_path_factory.mktemp("dist")
    done = subprocess.run(
        [sys.executable, "-m", "build", "--wheel", "--no-isolation", "--outdir", folder, ROOT],
        capture_output=True,
        text=True,
        timeout=_DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    (built,) = folder.glob("*.whl")
    return built


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The folder of commands of a new environment with the wheel, outside the repository.

    Dependencies are those of this environment, appended to its path; ours is installed here as a
    link to the sources, which would hide what the wheel lacks, so that link is not among them.
    """
    folder = tmp_path_factory.mktemp("elsewhere") / "venv"
    venv.create(folder, with_pip=False)
    libraries = Path(sysconfig.get_path("purelib"))
    installed_in = next(folder.glob("lib/python*/site-packages"))
    # A .pth file appends the folder itself; .pth files in there are not followed.
    (installed_in / "dependencies.pth").write_text(f"{libraries}\n")
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", folder / "bin" / "python", "install"),
            *("--quiet", "--no-deps", "--no-index", "--disable-pip-version-check"),
            *("--ignore-installed", wheel),
        ],
        timeout=_DEADLINE,
        check=True,
    )
    return folder / "bin"


def run(installed: Path, *command: str) -> str:
    done = subprocess.run(
        [installed / command[0], *command[1:]],
        cwd=installed.parent,
        env={"PATH": "/usr/bin:/bin", "HOME": str(installed.parent)},
        capture_output=True,
        text=True,
        timeout=_DEADLINE,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    return done.stdout


def test_the_wheel_holds_everything_that_is_not_code_too(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    assert {"bridge/py.typed", "consumers/py.typed"} <= names
    assert {f"bridge/sources/samples/{type_}.json" for type_ in KNOWN_TYPES} <= names
    assert "consumers/migrations/env.py" in names
    sources = {
        str(path.relative_to(ROOT))
        for package in ("bridge", "consumers")
        for path in (ROOT / package).rglob("*")
        if path.is_file() and "__pycache__" not in path.parts
    }
    assert sources <= names


def test_the_wheel_holds_nothing_else(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = archive.namelist()
    roots = {name.split("/")[0] for name in names}
    assert roots == {"bridge", "consumers", f"notification_bridge-{__version__}.dist-info"}
    assert not [name for name in names if name.endswith((".pyc", ".db"))]


def test_the_wheel_works_where_the_repository_is_not(installed: Path) -> None:
    said = run(
        installed,
        "python",
        "-c",
        "import bridge, consumers; print(bridge.__file__); print(consumers.__file__)",
    )
    for file in said.splitlines():
        assert Path(file).is_relative_to(installed.parent)
    assert run(installed, "bridge", "--version") == f"bridge {__version__}\n"


def test_what_the_commands_read_from_files_is_found(installed: Path) -> None:
    run(installed, "bridge", "db", "upgrade")
    assert '"crm"' in run(installed, "bridge", "topology", "apply", "--json")
    program = "from bridge.sources import samples; print(len(samples.sample('contact_optout')))"
    assert int(run(installed, "python", "-c", program)) > 0
