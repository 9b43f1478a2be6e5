"""``python -m bench`` and the console script ``bench``: the command line, its imports included."""

from __future__ import annotations


def start() -> None:
    """Run the command line; Ctrl-C while it is imported ends it as later on."""
    from bench.cli.interrupts import set_up_interrupts

    set_up_interrupts()
    from bench.cli.main import main as command_line

    command_line()


if __name__ == "__main__":
    start()
