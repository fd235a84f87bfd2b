"""From a name on the command line to a consumer."""

import importlib
import sys
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Final

from bridge.errors import ConfigurationError

if TYPE_CHECKING:
    from bridge.settings import Settings
    from bridge.topics import Group
    from consumers.consumer import Consumer

BUILT_IN: Final = ("crm", "suppression", "alerts")


def load_consumer(name: str, settings: "Settings") -> "Consumer":
    """The consumer that `name` names.

    Args:
        name: `crm`, `suppression`, `alerts`, or `module:attribute`; the module may lie in the
            working directory, or be a path such as `./loyalty.py`. The attribute is a `Consumer`,
            or a function that takes the settings and returns one.
        settings: passed to such a function.

    Raises:
        ConfigurationError: what is wrong with the name or what it leads to.
    """
    from consumers.consumer import Consumer  # noqa: PLC0415 - the command line starts without it

    module_name, _, attribute = name.partition(":")
    if name in BUILT_IN:
        module_name, attribute = f"consumers.{name}", "consumer"
    elif not module_name or not attribute:
        raise ConfigurationError(
            f"{name!r} names no consumer: use {', '.join(BUILT_IN)} or module:consumer"
        )
    module = _import(module_name, name)
    found = getattr(module, attribute, None)
    if found is None:
        raise ConfigurationError(f"{name}: the module {module_name} has no {attribute!r}")
    consumer = found if isinstance(found, Consumer) or not callable(found) else found(settings)
    if not isinstance(consumer, Consumer):
        raise ConfigurationError(
            f"{name} is a {type(consumer).__name__}, not a Consumer: "
            'write consumer = Consumer(group="...")'
        )
    return consumer


def _import(module_name: str, name: str) -> object:
    path = Path(module_name)
    if path.suffix == ".py":
        sys.path.insert(0, str(path.resolve().parent))
        module_name = path.stem
    elif str(Path.cwd()) not in sys.path:
        # An installed command does not have the working directory on its path; users expect it.
        sys.path.insert(0, str(Path.cwd()))
    try:
        return importlib.import_module(module_name)
    except ModuleNotFoundError as error:
        if error.name == module_name:
            raise ConfigurationError(
                f"{name}: no module {module_name!r} in {Path.cwd()} or among the installed packages"
            ) from error
        raise _broken(name, error) from error
    except ConfigurationError:
        raise
    except Exception as error:
        raise _broken(name, error) from error


def _broken(name: str, error: Exception) -> ConfigurationError:
    """A module that cannot be imported: where it broke, in the stranger's own file."""
    frame = traceback.extract_tb(error.__traceback__)[-1]
    if isinstance(error, SyntaxError):
        where = f"{error.filename} line {error.lineno}"
    else:
        where = f"{frame.filename} line {frame.lineno}"
    return ConfigurationError(f"{name}: {where}: {type(error).__name__}: {error}")


def load_groups(names: Sequence[str], settings: "Settings") -> "list[Group]":
    """The built-in groups and those of the consumers named, each once."""
    consumers = [load_consumer(name, settings) for name in dict.fromkeys((*BUILT_IN, *names))]
    return [consumer.group for consumer in consumers]
