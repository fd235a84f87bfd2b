"""The `bridge` command: one file for each group of verbs.

Data goes to stdout, talk to stderr. Exit codes are in `bridge.cli.output`. Every module here
imports what its verbs need inside them: `bridge --help` must answer at once.
"""

import sys


def main() -> None:
    """Entry point of the `bridge` command."""
    from bridge.cli.application import application  # noqa: PLC0415 - see above
    from bridge.cli.output import run  # noqa: PLC0415

    sys.exit(run(application))
