"""The command line: the one place where edge and head-end are put together.

`main` is the ``meterline`` command. Every command imports what it needs inside itself, so that a gateway without the
server's libraries, or a laptop with nothing but a USB adapter, runs the commands that make sense there.
"""

from __future__ import annotations


def main() -> None:
    """Run the command line and leave with its exit code (0, 1, 2, 3 or 130; see :mod:`meterline.errors`)."""
    from meterline.cli.app import run

    run()
