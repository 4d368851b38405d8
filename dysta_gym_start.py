"""The command ``dysta-gym``, which can be interrupted while it imports what it needs.

It stands beside the package, for nothing in the package is reached before its own imports.
"""

import os
import signal
from types import FrameType


def main() -> None:
    """Run the command line (`dysta_gym.cli.main`)."""
    end_when_interrupted()
    from dysta_gym.cli import main

    if signal.getsignal(signal.SIGINT) is end:
        signal.signal(signal.SIGINT, signal.default_int_handler)
    try:
        main(end)
    except KeyboardInterrupt:
        end()
    finally:
        if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
            signal.signal(signal.SIGINT, signal.SIG_DFL)  # nothing is left to be told


def end_when_interrupted() -> None:
    """Have an interrupt end the process, unless it is ignored, as in the background."""
    if signal.getsignal(signal.SIGINT) is signal.default_int_handler:
        signal.signal(signal.SIGINT, end)


def end(number: int = signal.SIGINT, frame: FrameType | None = None) -> None:
    """End the process at once, as if there were nothing to put in order."""
    try:
        os.write(2, b"dysta-gym: interrupted\n")
    finally:
        os._exit(128 + number)
