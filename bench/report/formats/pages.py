"""What self-contained HTML pages share: templates, escaped scripts, a policy of no requests."""

from __future__ import annotations

import base64
import hashlib
from collections.abc import Sequence
from importlib.resources import files
from typing import TYPE_CHECKING

from bench.report.tables.table import printable

if TYPE_CHECKING:
    from jinja2 import Template

POLICY = (
    "default-src 'none'; base-uri 'none'; form-action 'none'; img-src data:; "
    "style-src 'unsafe-inline'; script-src {scripts}"
)
"""Content security policy: no requests, and only the page's own scripts.

Vega compiles expressions, which needs ``unsafe-eval``.
"""


def page_template(name: str) -> Template:
    """Return a template; what it prints is escaped and printable.

    Examples
    --------
    >>> from bench.report.formats.pages import page_template
    >>> page_template("report.html.j2").name
    'report.html.j2'
    """
    from jinja2 import Environment, PackageLoader, StrictUndefined

    environment = Environment(
        loader=PackageLoader("bench.report.formats"),
        autoescape=True,
        undefined=StrictUndefined,
        finalize=lambda value: printable(value) if type(value) is str else value,
        trim_blocks=True,
        lstrip_blocks=True,
        keep_trailing_newline=True,
    )
    return environment.get_template(name)


def template_file(name: str) -> str:
    """Return the text of a style sheet or script beside the templates.

    Examples
    --------
    >>> from bench.report.formats.pages import template_file
    >>> ":root" in template_file("report.css")
    True
    """
    return (files("bench.report.formats") / "templates" / name).read_text(encoding="utf-8")


def closed_script(script: str) -> str:
    r"""Return a script with escapes, so that its text cannot end the script element.

    Examples
    --------
    >>> from bench.report.formats.pages import closed_script
    >>> closed_script("'</script>'")
    "'<\\/script>'"
    """
    return script.replace("</script", "<\\/script").replace("<!--", "<\\!--")


def page_policy(scripts: Sequence[str]) -> str:
    """Return the content security policy of a page with these scripts, as they stand in it.

    Examples
    --------
    >>> from bench.report.formats.pages import page_policy
    >>> page_policy([]).endswith("script-src 'none'")
    True
    """
    hashes = " ".join(map(_hash, scripts))
    return POLICY.format(scripts=f"{hashes} 'unsafe-eval'" if scripts else "'none'")


def _hash(script: str) -> str:
    digest = hashlib.sha256(script.encode()).digest()
    return f"'sha256-{base64.b64encode(digest).decode()}'"
