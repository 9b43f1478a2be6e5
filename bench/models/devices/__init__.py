"""The device that a run computes on; the processes of a run on several devices."""

from bench.models.devices.device import (
    deterministic_algorithms,
    exact_arithmetic,
    free_memory,
    pick_device,
    place_of_process,
    threads_of_the_machine,
)

__all__ = [
    "deterministic_algorithms",
    "exact_arithmetic",
    "free_memory",
    "pick_device",
    "place_of_process",
    "threads_of_the_machine",
]
