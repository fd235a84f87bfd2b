"""Commands that are not ours: what the machine lacks skips the test, and fails it where CI=true."""

from __future__ import annotations

import os
import shutil

import pytest


def need(command: str) -> None:
    """Go on only with this command, which Debian has in a package of the same name."""
    if shutil.which(command) is None:
        how = f"{command}: apt-get install {command}"
        if os.environ.get("CI") == "true":
            pytest.fail(how, pytrace=False)
        pytest.skip(how)
