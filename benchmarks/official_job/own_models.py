"""The command `bench` where open_clip also has the models `OWN` of `sizes.py`."""

from __future__ import annotations

import sys

from bench.cli.main import exit_code
from official_job.data import know_own

if __name__ == "__main__":
    know_own()
    sys.exit(exit_code(sys.argv[1:]))
