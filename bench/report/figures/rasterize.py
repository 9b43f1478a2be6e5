"""Drawing figures: what a page needs to do it itself, and SVG and PNG files."""

from __future__ import annotations

from collections.abc import Sequence
from functools import cache
from importlib.metadata import version
from typing import Any
from xml.sax.saxutils import quoteattr

from bench.core.paths import cache_dir, write_atomic
from bench.report.figures.spec import Chart, Spec

LIGHT: Spec = {
    "background": "white",
    "font": "Liberation Sans, Arial, sans-serif",
    "view": {"stroke": None},
    "legend": {"columns": 2, "labelLimit": 260},
    "axis": {"gridColor": "#e3e6ea", "domainColor": "#8a94a3", "tickColor": "#8a94a3"},
}
"""How files look."""
WIDTH = 560
SCALE = 2
"""Pixels of a PNG for each of an SVG."""


@cache
def vega_script() -> str:
    """JavaScript that draws Vega-Lite: ``vegaEmbed``, without a network.

    It is bundled by vl-convert, which takes a second or two, and then kept in the cache folder.
    """
    name = f"vega-{version('vl-convert-python')}.js"
    path = cache_dir(None) / "scripts" / name
    try:
        return path.read_text(encoding="utf-8")
    except OSError:
        import vl_convert

        made: str = vl_convert.javascript_bundle("window.vegaEmbed = vegaEmbed;")
    try:
        write_atomic(path, made.encode(), durable=False)
    except OSError:
        return made  # a cache that cannot be written is only slower
    return made


def chart_svg(chart: Chart, marks: Sequence[str] = ()) -> bytes:
    """The figure as an SVG file, `marks` under its title. It must have a specification.

    Vega leaves the description of a figure to the page around it; here it is a label of the whole.
    """
    import vl_convert

    spec = _complete(chart, marks)
    drawn: str = vl_convert.vegalite_to_svg(spec)
    label = quoteattr(spec.get("description", chart.title))
    return drawn.replace("<svg ", f'<svg role="img" aria-label={label} ', 1).encode()


def chart_png(chart: Chart, marks: Sequence[str] = ()) -> bytes:
    """The figure as a PNG file."""
    import vl_convert

    return bytes(vl_convert.vegalite_to_png(_complete(chart, marks), scale=SCALE))


def _complete(chart: Chart, marks: Sequence[str]) -> dict[str, Any]:
    """The specification with a size, a title and colours."""
    spec = dict(chart.spec or {})
    if spec.get("width") == "container":
        spec["width"] = WIDTH
    title = {"text": chart.title, "subtitle": list(marks)} if marks else chart.title
    return spec | {"title": title, "config": LIGHT}
