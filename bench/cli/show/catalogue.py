"""What ``bench list``, ``bench show`` and ``bench plan`` print, as plain data and as text."""

from __future__ import annotations

import inspect
from collections.abc import Callable, Mapping, Sequence
from dataclasses import fields
from pathlib import Path
from typing import Any

from bench.api.method import Method
from bench.api.metrics import FURTHER, METRICS, OWN, Metric
from bench.api.protocol import PROTOCOLS, Protocol
from bench.api.recipes import Fisher, Tuned
from bench.api.registry import ALIASES, datasets, find_dataset, find_method, methods
from bench.core.errors import unknown_name
from bench.core.parameters import parameters, settings, with_parameters
from bench.core.paths import cache_dir, data_dir
from bench.core.records import MissingCell, Record
from bench.data.cards import UNKNOWN, Archive, SetCard, cards
from bench.data.folder import DataFolder
from bench.data.suites import corruptions
from bench.data.suites.from_yaml import suite_file_card, suite_file_defaults
from bench.data.suites.yaml_schema import is_suite_file
from bench.leaderboard.published.layouts import PRESETS
from bench.leaderboard.published.tables import (
    PublishedTable,
    find_published_table,
    published_tables,
)
from bench.leaderboard.robustness import DERIVED, DerivedMetric
from bench.models.sources.named import EMBEDDED
from bench.models.sources.released_tags import TINY, model_names, released_tags
from bench.posthoc.selection import RULES
from bench.report.tables.table import format_value
from bench.runs.costs.counts import parts_of
from bench.runs.study.resolve import find_suites
from bench.testing.fakes import fake_models

KINDS = (
    "methods", "suites", "shifts", "sets", "tables", "published", "metrics", "rules", "protocols",
    "models",
)  # fmt: skip

EVERY_METRIC: Mapping[str, Metric | DerivedMetric] = {**METRICS, **OWN, **FURTHER, **DERIVED}


def listing(what: str | None, data: Path | None, facts: bool = False) -> dict[str, Any]:
    """All names of one kind, or of every kind except models, each with a line about it.

    With `facts`, methods have a mapping instead: also year, venue, kind and needs. Raises
    InputError for an unknown kind.
    """
    if what is not None and what not in KINDS:
        raise unknown_name("kind", what, KINDS)
    makers: dict[str, Callable[[], dict[str, Any]]] = {
        "methods": lambda: {
            n: method_facts(m()) if facts else m.summary for n, m in methods().items()
        },
        "suites": lambda: _suites(data),
        "shifts": lambda: {n: dict(d.card.shifts) for n, d in datasets().items()},
        "sets": lambda: {n: _set_line(c) for n, c in cards().items()},
        "tables": lambda: {n: p.title for n, p in PRESETS.items()},
        "published": lambda: {n: _published_line(t) for n, t in published_tables().items()},
        "metrics": lambda: {n: m.title for n, m in EVERY_METRIC.items()},
        "protocols": lambda: {p.name: _chosen_on(p) for p in PROTOCOLS.values()},
        "models": _models,
        "rules": lambda: {n: (r.__doc__ or "").splitlines()[0] for n, r in RULES.items()},
    }
    whole = [kind for kind in KINDS if kind != "models"]  # 140 lines would bury the others
    return {kind: makers[kind]() for kind in (whole if what is None else [what])}


def method_facts(method: Method) -> dict[str, Any]:
    """What there is to know of a method before a run: when, where, its kind and its needs."""
    models = fake_models(tuned=method.default_base is not None)
    choices = method.candidates()
    recipes = method.needs(models, choices[len(choices) // 2])
    parts = {part for recipe in recipes for part in parts_of(recipe)}
    tuned = {part.training for part in parts if isinstance(part, Tuned)}
    own = {part.trainer for part in tuned}
    split = len(choices) > 1 or type(method).fit is not Method.fit
    needs = {
        "a fine-tuned base": method.default_base is not None,
        "a training run": len(tuned) == 1 and method.default_base is None,
        f"{len(tuned)} training runs": len(tuned) > 1,
        "a text tower": not own or any(t.tunes_text or getattr(t, "reads_text", 0) for t in own),
        "Fisher information": any(isinstance(part, Fisher) for part in parts),
        "outputs on the training split": bool(method.train_needs(models)),
        "the selection split": split or any(t.selects for t in own),
        "all unlabelled samples of an evaluation set": method.role == "transductive",
    }
    return {
        "title": method.title,
        "summary": method.summary,
        "year": method.year,
        "venue": method.venue or None,
        "paper": (method.paper or None) if method.venue else None,
        "kind": method.group,
        "role": method.role,
        "newer": method.is_newer,
        "in all": method.in_all,
        "base": method.default_base,
        "needs": [name for name, needed in needs.items() if needed],
    }


def _models() -> dict[str, str]:
    """The tags of every model, as --pretrained takes them."""
    tags = {name: ", ".join(released_tags(name)) for name in model_names()}
    return {TINY: EMBEDDED} | {name: own or "checkpoint files only" for name, own in tags.items()}


def _chosen_on(protocol: Protocol) -> str:
    where = {
        "selection": "the selection split",
        "test": "the ID test set, as in published codes",
    }
    return f"everything is chosen on {where[protocol.selects]}"


def _suites(data: Path | None) -> dict[str, str]:
    """A line about every suite, then about names that stand for several."""
    lines = {name: _suite_line(name, data) for name in datasets()}
    return lines | {name: f"all of: {', '.join(own)}" for name, own in ALIASES.items()}


def _suite_line(name: str, data: Path | None) -> str:
    dataset = find_dataset(name)()
    if not dataset.found(data):
        return f"{dataset.card.title} [no data]"
    lacking = _lacking(name, data)
    return f"{dataset.card.title} [found{f', without {lacking}' if lacking else ''}]"


def _lacking(suite: str, data: Path | None) -> str:
    """The data sets of a suite's shifts that are not found, comma separated."""
    folder = DataFolder(data, cache_dir(None))
    sets = [card for card in cards().values() if suite in card.suites and card.shift_of]
    absent = (c.name for c in sets if not all(folder.has(c.name, p) for p in c.layout.folders))
    return ", ".join(absent)


def _set_line(card: SetCard) -> str:
    return f"{card.title} [{card.role}; {card.counts}; {card.download}]"


def _published_line(table: PublishedTable) -> str:
    source = table.source
    arxiv = f", arXiv {source.arxiv}" if source.arxiv else ""
    parts = (
        f"{source.table}{arxiv}{', second hand' * source.secondary}",
        ", ".join(table.suites),
        ", ".join(table.backbones),
        f"{len(table.claims)} cells",
    )
    return f"{table.title} [{'; '.join(parts)}]"


def published_table(name: str) -> PublishedTable | None:
    """The published table that `name` stands for, if any.

    ``published:NAME`` always is one, plain NAME if no method has that name. Raises InputError for
    an unknown NAME after ``published:``.
    """
    kind, _, rest = name.partition(":")
    if kind == "published":
        return find_published_table(rest)
    return None if name in methods() else published_tables().get(name)


def describe_name(name: str, suite_name: str) -> dict[str, Any]:
    """The card of a method, suite (file), data set, metric, rule, protocol or published table.

    Where names collide, ``set:NAME`` is the data set and ``published:NAME`` the published table.
    Raises InputError for an unknown name.
    """
    if (table := published_table(name)) is not None:
        return table.model_dump(mode="json")
    kind, _, rest = name.partition(":")
    if kind == "set" and rest in cards():
        return _set_card(cards()[rest])
    plain, severities = corruptions.parse_corruptions(name)
    if plain in datasets() or is_suite_file(plain):
        found = suite_file_card(Path(plain)) if is_suite_file(plain) else datasets()[plain].card
        shifts = corruptions.describe_corruptions(severities) if severities else dict(found.shifts)
        sets = {c.name: _set_line(c) for c in cards().values() if plain in c.suites}
        return {
            "suite": name, "title": found.title, "source": found.source,
            "licence": found.licence, "shifts": shifts, "citation": found.citation,
            **({"data sets (bench show set:NAME)": sets} if sets else {}),
        }  # fmt: skip
    if name in PROTOCOLS:
        return _protocol_card(PROTOCOLS[name])
    if name in cards():
        return _set_card(cards()[name])
    if name in RULES:
        return {"selection rule": name, "idea": inspect.getdoc(RULES[name]) or ""}
    if metric := EVERY_METRIC.get(name):
        return _metric_card(metric)
    if name not in methods():
        valid = [
            *(*methods(), *datasets(), *PROTOCOLS, *EVERY_METRIC, *RULES),
            *(*cards(), *published_tables()),
        ]
        kinds = "method, suite, data set, metric, rule, protocol or published table"
        raise unknown_name(kinds, name, valid, "bench list")
    method = find_method(name)
    own, task = parameters(method()), corruptions.parse_corruptions(suite_name)[0]
    facts = method_facts(method())
    return {
        "method": name,
        "title": method.title,
        "idea": method.summary,
        "equation": method.equation,
        "source": method.source,
        "published": f"{method.venue} {method.year or ''}".strip() or "no",
        "kind": facts["kind"] if facts["role"] == "method" else f"{facts['kind']}, {facts['role']}",
        "needs": ", ".join(facts["needs"]),
        "base": method.default_base or "none",
        "parameters": {k: str(v) for k, v in own.items()},
        "sources": {k: s.source for k, s in settings(method()).items() if s.source},
        **{
            f"defaults of {suite}": _changed(name, own, changes)
            for suite, changes in _defaults(name, suite_name).items()
        },
        **{
            f"under protocol {protocol.name}": _changed(name, own, protocol.changes(method(), task))
            for protocol in PROTOCOLS.values()
        },
        "change with": f"--set {name}.PARAMETER=VALUE",
        **(
            {"published table": f"bench show published:{name}"}
            if name in published_tables()
            else {}
        ),
    }


def _metric_card(metric: Metric | DerivedMetric) -> dict[str, Any]:
    if isinstance(metric, DerivedMetric):
        return {
            "metric": metric.name,
            "title": metric.title,
            "definition": metric.definition,
            "better": metric.better,
            "computed with": f"--metrics {metric.name}, when the report is written",
        }
    fields = PROTOCOLS["clean"].facts()
    names = [f"ece_{parameter}" for parameter in metric.params if metric.name.endswith("ece")]
    settings = {f"--set protocol.{n}=VALUE": f"clean: {fields[n]}" for n in names if n in fields}
    return {
        "metric": metric.name,
        "title": metric.title,
        "definition": (inspect.getdoc(metric.function) or "").partition("\n\nExamples\n")[0],
        "better": "higher" if metric.higher_is_better else "lower",
        **({"measured with": f"--metrics {metric.name}"} if metric.name in FURTHER else {}),
        **({"change with": settings} if settings else {}),
    }


def _set_card(card: SetCard) -> dict[str, Any]:
    classes = f"{card.classes:,}"
    if card.classes_total:
        classes += f" of {card.classes_total:,}"
    return {
        "data set": card.name,
        "title": card.title,
        "role": card.role,
        "suites": ", ".join(card.suites),
        "source": card.source,
        "revision": card.revision,
        "licence": card.terms.licence,
        "terms": _noted(
            {"gated": "yes" if card.terms.gated else "no", **_numbered(card.terms.accept)},
            card.terms.note,
        ),
        "images": card.counts + (f"; {card.images_note}" if card.images_note else ""),
        "images per class": card.balance or "unequal or unknown",
        "classes": classes,
        "label map": f"{card.label_map}: {card.labels}",
        "metric": card.metric,
        "download": card.download,
        "get it with": f"bench data download {card.name}",
        "archives": {
            archive.file: _noted(_archive(archive), archive.note) for archive in card.archives
        },
        "prompts": {file.file: _noted(_archive(file), file.note) for file in card.prompts},
        "metadata": {file.file: _noted(_archive(file), file.note) for file in card.metadata},
        "copies": {copy.url: copy.note for copy in card.copies},
        "folders": {
            part: {place.path: ", ".join(place.by) for place in places}
            for part, places in card.layout.folders.items()
        },
        "inside": card.layout.inside,
        "notes": _numbered(card.notes),
        "citation": card.citation,
    }


def _archive(archive: Archive) -> dict[str, str]:
    sums = archive.checksums or {"checksum": UNKNOWN}
    facts = {"holds": archive.holds, "size": archive.exact}
    facts |= {"goes into": archive.into} if archive.into else {}
    return {**facts, **sums, **_numbered(archive.urls)}


def _numbered(texts: Sequence[str]) -> dict[str, str]:
    return {str(number): text for number, text in enumerate(texts, start=1)}


def _noted(facts: Mapping[str, str], note: str | None) -> dict[str, str]:
    return {**facts, **({"note": note} if note else {})}


def _protocol_card(protocol: Protocol) -> dict[str, Any]:
    sources = {f.name: f.metadata["source"] for f in fields(Protocol) if "source" in f.metadata}
    values = {name: format_value(value) for name, value in protocol.facts().items()}
    return {
        "protocol": protocol.name,
        "fields": {name: f"{value}  ({sources[name]})" for name, value in values.items()},
        "change with": "--set protocol.FIELD=VALUE",
    }


def _changed(name: str, own: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, str]:
    """The parameters of a method whose value `changes` sets to another one."""
    method = with_parameters(find_method(name)(), changes, name)
    return {k: str(v) for k, v in parameters(method).items() if v != own[k]}


def _defaults(method: str, suite: str) -> dict[str, Mapping[str, Any]]:
    """{suite: hyper-parameters of a method} for `suite` and every suite whose data are found.

    A suite file needs no data.
    """
    plain, _ = corruptions.parse_corruptions(suite)
    if is_suite_file(plain):
        return {suite: suite_file_defaults(Path(plain)).get(method, {})}
    data, cache = data_dir(None), cache_dir(None)
    found = [*find_suites(suite, data, cache), *find_suites("available", data, cache)]
    own = find_method(method).defaults_on
    return {s.name: {**own.get(s.task.name, {}), **s.defaults.get(method, {})} for s in found}


def as_text(value: Mapping[str, Any], indent: int = 0) -> str:
    """Nested mappings as indented lines."""
    lines = []
    for name, inner in value.items():
        if isinstance(inner, Mapping):
            lines.append(f"{' ' * indent}{name}:")
            lines.append(as_text(inner, indent + 2) if inner else f"{' ' * (indent + 2)}(none)")
        else:
            lines.append(f"{' ' * indent}{name}: {inner}")
    return "\n".join(lines)


def result_data(
    out: Path, records: Sequence[Record], missing: Sequence[MissingCell], caveats: Sequence[str]
) -> dict[str, Any]:
    """The data of ``bench run --json``."""
    shown = {
        name: [r.model_dump(mode="json", exclude={"provenance"}) for r in records if r.kind == kind]
        for name, kind in (("cells", "cell"), ("scaled", "scaled"))
    }
    lacking = [m.model_dump() for m in missing]
    return {"out": str(out), **shown, "missing": lacking, "caveats": list(caveats)}
