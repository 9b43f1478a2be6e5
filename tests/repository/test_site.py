"""The documentation site: strict build, complete navigation, nothing loaded from elsewhere."""

from __future__ import annotations

import re
import subprocess
import threading
from collections.abc import Iterator
from functools import partial
from http.server import SimpleHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any

import build_site
import click
import markdown
import pytest
import yaml
from browser import opened
from filelock import FileLock
from places import ROOT
from site_docstrings import readable

from bench.cli.main import SECTIONS


class _Loader(yaml.SafeLoader):
    """YAML with the tag for environment variables, which the site's configuration has."""


_Loader.add_constructor("!ENV", lambda loader, node: loader.construct_scalar(node))


def named(entry: Any) -> Iterator[str]:
    """The pages of the navigation."""
    if isinstance(entry, str):
        yield entry
    for one in entry.values() if isinstance(entry, dict) else entry if entry is not str else ():
        if not isinstance(entry, str):
            yield from named(one)


NAVIGATION = list(
    named(yaml.load((ROOT / "docs" / "mkdocs.yml").read_text(encoding="utf-8"), _Loader)["nav"])
)


@pytest.fixture(scope="module")
def site(tmp_path_factory: pytest.TempPathFactory, worker_id: str) -> Path:
    """The built site."""
    base = tmp_path_factory.getbasetemp()
    out = (base if worker_id == "master" else base.parent) / "site"
    with FileLock(f"{out}.lock"):
        if not (out / "site" / "index.html").exists():
            build_site.build(out)
    return out


@pytest.mark.slow
def test_the_site_builds_strictly_and_has_every_page_in_its_navigation(site: Path) -> None:
    pages = {path.relative_to(site / "pages").as_posix() for path in site.glob("pages/**/*.md")}
    assert len(NAVIGATION) == len(set(NAVIGATION))
    decisions = {page for page in pages if page.startswith("decisions/")}
    assert set(NAVIGATION) == pages - decisions | {"decisions/index.md"}
    index = (site / "pages" / "decisions" / "index.md").read_text()
    assert set(re.findall(r"\(([^()]*)\)$", index, re.MULTILINE)) == {
        page.removeprefix("decisions/") for page in decisions - {"decisions/index.md"}
    }


def test_a_build_removes_only_what_builds_make(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name in ("pages/old.md", "site/old.html", "mine/thesis.md"):
        (tmp_path / name).parent.mkdir()
        (tmp_path / name).touch()
    monkeypatch.setattr(build_site, "pages", tuple)
    monkeypatch.setattr(build_site, "BOARDS", ())
    monkeypatch.setattr(build_site, "reference", lambda _: ())
    done = subprocess.CompletedProcess((), 0, "", "")
    monkeypatch.setattr(build_site.subprocess, "run", lambda *_, **__: done)
    build_site.build(tmp_path)
    assert {path.name for path in tmp_path.rglob("*.*")} == {"thesis.md", "mkdocs.yml"}


def test_a_link_that_leads_nowhere_is_an_error(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(build_site, "ROOT", tmp_path)
    (tmp_path / "docs").mkdir()
    page, out = tmp_path / "docs" / "a.md", tmp_path / "out"
    page.write_text("[a](b.md#c), `[no](link.md)`, [code](../x.py), [away](https://example.org)\n")
    with pytest.raises(FileNotFoundError, match=r"docs/a\.md links to b\.md"):
        build_site.stage("docs/a.md", out)
    (tmp_path / "docs" / "b.md").touch()
    (tmp_path / "x.py").touch()
    build_site.stage("docs/a.md", out)
    assert (out / "a.md").read_text() == page.read_text().replace("../x.py", "files/x.py")
    assert (out / "files" / "x.py").exists()


@pytest.mark.slow
def test_every_command_and_option_is_in_the_reference(site: Path) -> None:
    text = (site / "pages" / "reference" / "command-line.md").read_text()
    for section in SECTIONS:
        for name, command in section.commands.items():
            body = text.partition(f"\n## bench {name}\n")[2].partition("\n## ")[0]
            for one in getattr(command, "commands", {"": command}).values():
                for option in one.params:
                    shown = isinstance(option, click.Option) and not option.hidden
                    assert not shown or option.opts[-1] in body, name


@pytest.mark.slow
def test_the_python_reference_has_descriptions_and_no_stray_sections(site: Path) -> None:
    text = (site / "site" / "reference" / "python" / "posthoc" / "index.html").read_text()
    assert "the weight on the fine-tuned model, in [0, 1]" in re.sub(r"<.*?>", "", text)
    assert "<autoref" not in text


def test_docstrings_are_made_readable() -> None:
    written = (
        "Return x [row][seed].\n\nParameters\n----------\na, b : sizes.\n    Two.\n"
        "c : see docs/mini.md.\n\nRaises InputError for more.\n\nExamples\n--------\n>>> x[0][1]"
    )
    assert readable(written) == (
        "Return x [row]\\[seed].\n\nRaises InputError for more.\n\nParameters\n----------\n"
        "a\n    sizes.\n    Two.\nb\n    sizes.\n    Two.\n"
        "c\n    see [docs/mini.md](../../../mini/).\n\nExamples\n--------\n>>> x[0][1]"
    )


def test_formulas_are_mathml_and_code_is_not() -> None:
    page = markdown.Markdown(extensions=["site_math", "pymdownx.superfences"])
    made = page.convert("$x_i$ costs `$5$`\n\n$$\\frac{1}{2}$$\n\n```\n$y$\n```\n\n$5 and $6")
    assert made.count("<math") == 2 and "<mfrac>" in made and 'display="block"' in made
    assert "<code>$5$</code>" in made and "$y$" in made and "$5 and $6" in made
    with pytest.raises(ValueError, match=r"\\nosuch"):
        page.convert(r"$\nosuch{x}$")


class _Quiet(SimpleHTTPRequestHandler):
    def log_message(self, *_: object) -> None:
        pass


@pytest.fixture
def address(site: Path) -> Iterator[str]:
    """The address of a server of the site."""
    served = partial(_Quiet, directory=site / "site")
    server = ThreadingHTTPServer(("127.0.0.1", 0), served)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}/"
    finally:
        server.shutdown()
        server.server_close()


@pytest.mark.slow
def test_no_request_leaves_the_site(address: str) -> None:
    with opened(address) as page:
        for path in ("", "reference/command-line/", "mini/", "results/"):
            page.goto(f"{address}{path}")
            page.wait_for_load_state("networkidle")
        page.keyboard.press("/")
        page.keyboard.type("adaptive_calibration_error")
        page.wait_for_timeout(1000)  # the search loads its worker and its index


@pytest.mark.slow
def test_links_of_the_board_lead_to_files_and_pages_of_the_site(site: Path, address: str) -> None:
    with opened(address) as page:
        page.goto(f"{address}files/results/index.html")
        links = page.eval_on_selector_all("a[href]", "all => all.map(one => one.href)")
        local = {link.partition("#")[0].removeprefix(address) for link in links if address in link}
        assert {"files/results/mini/report.html", "files/docs/statistics.md"} <= local
        assert not [path for path in local if not (site / "site" / path).exists()]
        page.goto(f"{address}files/docs/statistics.md#one-seed")
        page.wait_for_url(f"{address}statistics/#one-seed")
        for path in ("results/README.md", "docs/decisions/2026-11-30-board.md", "CONTRIBUTING.md"):
            page.goto(f"{address}files/{path}")
            page.wait_for_function("document.querySelector('nav') !== null")
