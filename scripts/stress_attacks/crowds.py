"""Many runs at once on one store: the same bytes, and each output is computed once."""

from __future__ import annotations

import os
import signal
import time
from collections import Counter
from pathlib import Path

from stress_attacks.case import Place, Tally, compared, contents, leftovers

METHODS = ("vrf", "ose", "wise-ft", "e2e-ft", "zero-shot", "vrf,ose", "soup", "linear")


def crowd(folder: Path, expected: dict[str, bytes], count: int, killed: int = 0) -> Tally:
    """Start the same command `count` times on one store, and kill the first ones."""
    title = f"{count} runs at once" + (f", {killed} of them killed" if killed else "")
    tally, place = Tally(title), Place(folder / f"crowd-{killed}")
    counted = place.root / "written"
    outs = [place.root / f"run-{number}" for number in range(count)]
    processes = [place.start(counted=counted, out=out) for out in outs]
    for process in processes[:killed]:
        time.sleep(2.5)
        os.killpg(process.pid, signal.SIGKILL)
    for process, out in zip(processes, outs, strict=True):
        _, said = process.communicate()
        if process not in processes[:killed]:
            fault = compared(out, expected, (process.returncode, said))
            tally.add(out.name, fault, leftovers(out))
    place.run(counted=counted)  # which removes what the killed ones left
    tally.add("the store", _written(counted, 1 + killed), leftovers(place.cache))
    return tally


def one_folder(folder: Path, expected: dict[str, bytes], count: int) -> Tally:
    """Start the same command `count` times on one store and with one output folder."""
    tally, place = Tally(f"{count} runs at once into one folder"), Place(folder / "one")
    processes = [place.start() for _ in range(count)]
    said = [(process.communicate()[1], process.returncode) for process in processes]
    for text, code in said:
        tally.add("one run", compared(place.out, expected, (code, text)), leftovers(place.out))
    return tally


def different(folder: Path, count: int) -> Tally:
    """Start runs of different methods on one store; compare with each alone on its own."""
    tally, place = Tally(f"{count} runs of different methods at once"), Place(folder / "different")
    counted, methods = place.root / "written", METHODS[:count]
    outs = [place.root / f"run-{number}" for number in range(len(methods))]
    processes = [
        place.start("--methods", name, counted=counted, out=out)
        for name, out in zip(methods, outs, strict=True)
    ]
    said = [(process.communicate()[1], process.returncode) for process in processes]
    for name, out, (text, code) in zip(methods, outs, said, strict=True):
        alone = Place(folder / f"alone-{name}")
        code_alone, text_alone = alone.run("--methods", name)
        fault = f"alone: {text_alone}" if code_alone else ""
        tally.add(name, fault or compared(out, contents(alone.out), (code, text)))
    tally.add("the store", _written(counted, 1), leftovers(place.cache))
    return tally


def _written(counted: Path, most: int) -> str:
    """Say which outputs were written more often than `most` times.

    The note on a model is written by each run that loads it, and a pack of cells whenever some of
    its cells were measured: curves and temperatures come later than the others.
    """
    counts = Counter(counted.read_text().splitlines())
    often = {p: n for p, n in counts.items() if n > most and "/models/" not in p}
    packs = {p: n for p, n in often.items() if "/cells/" in p}
    for path in packs:
        del often[path]
    summary = f"{len(counts)} files, {sum(counts.values())} writes"
    print(f"    {summary}; packs of cells written more often: {packs and len(packs)}", flush=True)
    named = [*often][:3]
    return f"{len(often)} outputs were written more than {most} times: {named}" if often else ""
