"""Commands that run in processes of their own, and are ended."""

import os
import signal
import subprocess
import sys
import time

import pytest


@pytest.fixture
def command():
    """``command(*arguments, **options)``: a process of the command, with options of `Popen`."""

    def begin(*arguments, start="from dysta_gym_start import main; main()", **options):
        return subprocess.Popen(
            [sys.executable, "-c", start, *map(str, arguments)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.default_int_handler), **options,
        )  # fmt: skip

    return begin


@pytest.fixture
def ended():
    """``ended(process, number)``: what a command says that a signal ends, as all of its session."""

    def end(process, number):
        began = time.monotonic()
        os.killpg(process.pid, number)
        _, said = process.communicate(timeout=60)
        assert time.monotonic() - began < 5  # a second, where the machine is one's own
        assert process.returncode == 128 + number
        assert "Traceback" not in said
        return [line for line in said.splitlines() if "compiling what this run" not in line]

    return end
