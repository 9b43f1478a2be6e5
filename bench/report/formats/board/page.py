"""The board as one self-contained HTML page that works offline."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from bench.report.figures.rasterize import vega_script
from bench.report.formats.board.cells import Data
from bench.report.formats.board.plots import board_plots, cost_axis
from bench.report.formats.html_data import script_json
from bench.report.formats.pages import (
    closed_script,
    page_policy,
    page_template,
    template_file,
)
from bench.report.tables.table import printable

SCRIPTS = ("shared", "figures", "board_view", "board")
"""The page's own scripts, each after the scripts it uses."""
TITLE = "Robust fine-tuning: which methods stay accurate on images that look different?"


def board_html(
    view: Data, *, title: str = TITLE, root: str = "", links: Mapping[str, str] | None = None
) -> str:
    """Return the page of a board whose data are `view` (`bench.report.formats.board.view`).

    `root` leads from the page to the documentation, to link it; `links` are further pages.

    Examples
    --------
    >>> from bench.report.document import document
    >>> from bench.report.formats.board.page import board_html
    >>> from bench.report.formats.board.view import board_view
    >>> from bench.testing.fakes import fake_records
    >>> view = board_view(document(fake_records()).chapters)
    >>> board_html(view).startswith("<!DOCTYPE html>")
    True
    """
    from markupsafe import Markup

    scripts = [vega_script(), *(template_file(f"{name}.js") for name in SCRIPTS)]
    scripts = list(map(closed_script, scripts))
    boards = [board | {"cost_axis": _axis(board)} for board in view["boards"]]
    plots = board_plots()
    data = _printed(view | {"boards": boards, "plots": plots, "root": root})
    return page_template("board.html.j2").render(
        title=title,
        introduction=view["introduction"],
        links=links or {},
        boards=view["boards"],
        plots=plots,
        root=root,
        glossary=sorted(view["glossary"].items(), key=lambda term: term[0].casefold()),
        adding=view["adding"],
        style=Markup(template_file("report.css") + template_file("board.css")),
        scripts=list(map(Markup, scripts)),
        policy=page_policy(scripts),
        data=Markup(script_json(data)),
    )


def _axis(board: Data) -> Data | None:
    return cost_axis(row["cost"]["images"] for row in board["rows"] if "cost" in row)


def _printed(value: Any) -> Any:
    """Return data whose texts are printable, as the page's script shows them as they are."""
    if isinstance(value, str):
        return printable(value)
    if isinstance(value, Mapping):
        return {printable(name): _printed(inner) for name, inner in value.items()}
    return [_printed(inner) for inner in value] if isinstance(value, list | tuple) else value
