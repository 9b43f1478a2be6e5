"""Render figures as SVG and PNG files, and provide the script that renders them in a page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache
from importlib.metadata import version
from typing import Any
from xml.sax.saxutils import quoteattr

from bench.core.foreign.files import read_bounded
from bench.core.paths import cache_dir, write_atomic
from bench.core.store.container import DamagedError, opened_bytes, sealed_bytes
from bench.report.figures.spec import Chart, Spec
from bench.report.tables.table import printable

LIGHT: Spec = {
    "background": "white",
    "font": "Liberation Sans, Arial, sans-serif",
    "view": {"stroke": None},
    "legend": {"columns": 2, "labelLimit": 260},
    "axis": {"gridColor": "#e3e6ea", "domainColor": "#8a94a3", "tickColor": "#8a94a3"},
}
"""Vega configuration of SVG and PNG files."""
WIDTH = 560
SCALE = 2
"""Pixels of a PNG per pixel of an SVG."""


@cache
def vega_script() -> str:
    """Return the JavaScript that renders Vega-Lite offline, with ``vegaEmbed`` as entry point.

    vl-convert bundles it, which takes a second or two; the result is stored in the cache folder.
    """
    name = f"vega-{version('vl-convert-python')}.js"
    path = cache_dir(None) / "scripts" / name
    try:
        return opened_bytes(f"scripts/{name}", read_bounded(path)).decode()
    except (OSError, DamagedError):
        import vl_convert

        script: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    try:
        write_atomic(path, sealed_bytes(f"scripts/{name}", script.encode()), durable=False)
    except OSError:
        return script  # without a writable cache, the next process bundles it again
    return script


def chart_svg(chart: Chart, marks: Sequence[str] = ()) -> bytes:
    """Return the figure as an SVG file with `marks` under its title. It must have a specification.

    Vega does not write the description of a figure into the SVG; it becomes its ``aria-label``.
    """
    import vl_convert

    spec = _complete(chart, marks)
    svg: str = vl_convert.vegalite_to_svg(spec)
    label = quoteattr(spec.get("description", chart.title))
    return svg.replace("<svg ", f'<svg role="img" aria-label={label} ', 1).encode()


def chart_png(chart: Chart, marks: Sequence[str] = ()) -> bytes:
    """Return the figure as a PNG file with `marks` under its title."""
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(_complete(chart, marks), scale=SCALE))


def _complete(chart: Chart, marks: Sequence[str]) -> dict[str, Any]:
    """Add size, title and colours to a specification."""
    spec = dict(chart.spec or {})
    if spec.get("width") == "container":
        spec["width"] = WIDTH
    title = {"text": chart.title, "subtitle": list(marks)} if marks else chart.title
    found: dict[str, Any] = _printed(spec | {"title": title, "config": LIGHT})
    return found


def _printed(value: Any) -> Any:
    """Return a part of a specification without characters that no XML and no font has."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {_printed(name): _printed(inner) for name, inner in value.items()}
    return [_printed(inner) for inner in value] if isinstance(value, list | tuple) else value
