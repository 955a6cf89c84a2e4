"""The command line: ``fastnn train``, ``evaluate``, ``predict``, and what goes with them.

Bad input gets one line on standard error and exit status 2; a diverging run 1; Ctrl-C 130.
"""

import sys


def main() -> None:
    """Entry point of the ``fastnn`` command."""
    try:
        from fastnn.cli.program import run  # takes a moment, in which Ctrl-C is to be quiet too

        status = run(sys.argv[1:])
    except KeyboardInterrupt:
        sys.stderr.write("\nInterrupted.\n")
        status = 130  # as shells have it
    sys.exit(status)
