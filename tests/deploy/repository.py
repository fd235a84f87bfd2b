"""Where the files under test are, and which settings they may name."""

import re
from pathlib import Path
from typing import Final

from pydantic import SecretStr

from bridge.settings import Settings

ROOT: Final = Path(__file__).parents[2]
CHART: Final = ROOT / "helm" / "notification-bridge"

FIXED: Final = frozenset({"host", "port", "admin_host", "admin_port"})
"""Settings that image and chart decide, so that ports and probes agree."""
SECRET: Final = frozenset(
    name for name, field in Settings.model_fields.items() if field.annotation is SecretStr
)
PLAIN: Final = frozenset(Settings.model_fields) - SECRET - FIXED


def variables(text: str) -> set[str]:
    """Every BRIDGE_ variable that a text names."""
    return set(re.findall(r"\bBRIDGE_[A-Z][A-Z0-9_]*\b", text))


def known(variable: str) -> bool:
    """Whether the bridge would accept it."""
    name = variable.removeprefix("BRIDGE_").lower()
    return name == "config" or bool({name, name.removesuffix("_file")} & set(Settings.model_fields))
