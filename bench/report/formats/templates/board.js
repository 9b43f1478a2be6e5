"use strict";
// The board's page: controls, table, details of a row, figures and downloads for the chosen view.

const benchBoard = (() => {
  const { DASH, box, element, option } = shared;
  const { EXTRA, MEASURED, ORDER, PUBLISHED } = boardView;
  const data = JSON.parse(document.querySelector("script.data").textContent);
  for (const name of ["methods", "sources", "suites", "runs", "glossary"]) Object.setPrototypeOf(data[name], null); // a row may be called constructor
  const $ = (id) => document.getElementById(id);
  const board = { data, renders: 0, rowsDrawn: 0 };
  let state = boardView.fromAddress(location.hash.slice(1)), found;

  // Words of the glossary become buttons that explain them in place.
  const words = Object.keys(data.glossary).sort((a, b) => b.length - a.length);
  const escaped = words.map((word) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&"));
  const pattern = new RegExp(`(?<![\\p{L}\\d-])(${escaped.join("|")})(?![\\p{L}\\d-])`, "u");

  function word(name, shown = name, meaning = data.glossary[name]) {
    return element("button", { class: "word", type: "button", "aria-label": shown === "?" ? `What is ${name}?` : null,
      onclick: (event) => { event.stopPropagation(); explain(event.currentTarget, name, meaning); } }, shown);
  }

  function explain(button, name, { text, page }) {
    const place = $("meaning");
    place.replaceChildren(element("b", {}, name), ` ${text} `, element("small", {}, reference(page)));
    place.showPopover();
    const from = button.getBoundingClientRect(), size = place.getBoundingClientRect();
    place.style.left = `${Math.max(8, Math.min(from.left, document.documentElement.clientWidth - size.width - 8))}px`;
    place.style.top = `${from.bottom + size.height + 8 > innerHeight ? Math.max(8, from.top - size.height - 4) : from.bottom + 4}px`;
  }

  // A page of the documentation; linked if the board knows where it is.
  function reference(page) {
    const file = page.split(" ")[0];
    return data.root ? element("a", { href: `${data.root}/${file}` }, page) : page;
  }

  // A text in which each word of the glossary is explained once.
  function withWords(text, told = new Set()) {
    const parts = [];
    let rest = text;
    for (let hit = pattern.exec(rest); hit; hit = pattern.exec(rest)) {
      parts.push(rest.slice(0, hit.index), told.has(hit[1]) ? hit[1] : word(hit[1]));
      told.add(hit[1]);
      rest = rest.slice(hit.index + hit[1].length);
    }
    return [...parts, rest];
  }

  // Only addresses of the web are links; others, as a plugin might have, are text.
  const link = (address, shown) => (/^https?:\/\//i.test(address ?? "")
    ? element("a", { href: address, rel: "noopener noreferrer", target: "_blank" }, shown) : shown);

  function update(changes) {
    state = { ...state, ...changes };
    const address = boardView.toAddress(state);
    history.replaceState(null, "", address ? `#${address}` : location.pathname + location.search);
    render();
  }

  function select(label, name, options, value, change) {
    const made = element("select", { onchange: (event) => change(event.target.value), "data-control": name, "aria-label": label }, ...options);
    made.value = value;
    const term = label.toLowerCase(); // its button is no part of a label, which would name the button
    return element("span", { class: "field" }, data.glossary[term] ? word(term, label) : label, " ", made);
  }

  // A list of boxes behind a summary, within the window.
  function boxes(label, name, options, isOn, change) {
    const open = document.querySelector(`details[data-part="${name}"]`)?.open ?? false;
    const fit = ({ currentTarget: { lastChild: list } }) => {
      list.style.left = "";
      list.style.left = `${Math.min(0, document.documentElement.clientWidth - 8 - list.getBoundingClientRect().right)}px`;
    };
    return element("details", { "data-part": name, open, ontoggle: fit }, element("summary", { "data-control": name }, label),
      element("div", {}, ...options.map(([key, shown]) => tick(`${name} ${key}`, shown, isOn(key), (on) => change(key, on)))));
  }

  function tick(control, label, checked, change) {
    const made = box(label, checked, change);
    made.querySelector("input").dataset.control = control;
    return made;
  }

  // A control with a button that explains what it is about.
  const explained = (control, term) => (data.glossary[term] ? element("span", { class: "field" }, control, " ", word(term, "?")) : control);

  const toggled = (list, key, on) => (on ? [...list, key] : list.filter((one) => one !== key));

  function controls() {
    const { board: of, view } = found, parts = ["suite", "model", "protocol"];
    const measured = new Set(data.boards.filter((one) => one.measured).map(({ suite }) => suite));
    const named = (part, value) => (part === "suite" && !measured.has(value) ? `${value} (published only)` : value);
    const rest = { suite: { model: "", protocol: "", metric: "", bases: null, sort: "", source: "" },
      model: { protocol: "", bases: null, sort: "", source: "" }, protocol: { bases: null, sort: "", source: "" } };
    const made = parts.map((part) => select(shared.capital(part), part,
      boardView.choices(data, of, part).map((value) => option(value, named(part, value))), of[part],
      (value) => update({ ...Object.fromEntries(parts.slice(0, parts.indexOf(part)).map((before) => [before, of[before]])), [part]: value, ...rest[part] })));
    made.push(select("Metric", "metric", of.views.map(({ name, title }) => option(name, title)), view.name,
      (value) => update({ metric: value, sort: "" })));
    const titles = found.sources.filter((name) => name !== MEASURED);
    if (found.sources.length > 1) {
      const options = [option("", "All"), ...(titles.length < found.sources.length ? [option(MEASURED, "Measured"), option(PUBLISHED, "Published")] : []),
        ...titles.map((name) => option(name, data.sources[name].title))];
      made.push(select("Source", "source", options, state.source, (value) => update({ source: value })));
    }
    if (found.groups.length > 1) {
      const on = state.bases ?? found.groups;
      made.push(explained(boxes("Bases", "bases", found.groups.map((name) => [name, name]), (key) => on.includes(key), (key, is) => {
        const bases = toggled(on, key, is);
        update({ bases: found.groups.every((name) => bases.includes(name)) ? null : bases });
      }), "base"));
    }
    for (const role of found.extras) {
      const ticked = tick(role, EXTRA[role], found.roles.includes(role), (on) => update({ rows: toggled(found.roles, role, on) }));
      made.push(explained(ticked, EXTRA[role].toLowerCase().replace(/s$/, "")));
    }
    made.push(boxes("Columns", "columns", found.allColumns.map(({ key, label, plain }) => [key, plain ?? label]),
      (key) => !state.hide.includes(key), (key, on) => update({ hide: toggled(state.hide, key, !on) })));
    made.push(explained(tick("intervals", "Intervals", state.intervals, (on) => update({ intervals: on })), "95% interval"));
    const focused = document.activeElement?.dataset.control; // the control that is replaced keeps the focus
    $("choose").replaceChildren(...made);
    if (focused) [...$("choose").querySelectorAll("[data-control]")].find((one) => one.dataset.control === focused)?.focus();
    if ($("search").value !== state.q) $("search").value = state.q;
  }

  function head(column) {
    const { key, label, numeric, unsorted, plain } = column, isSorted = found.sort === key && !found.grouped;
    const isBest = !state.worst, down = key.startsWith(".") ? !isBest : found.view.higher === isBest;
    const sort = () => update(isSorted ? { sort: key, worst: !state.worst } : { sort: key, worst: false });
    const meaning = [plain ?? label, label.split(" (")[0]].find((name) => data.glossary[name]);
    const shifts = data.suites[found.board.suite]?.shifts ?? {}, set = Object.hasOwn(shifts, key) ? shifts[key] : "";
    return element("th", { scope: "col", class: numeric && "n", "data-key": key,
      "aria-sort": isSorted ? (down ? "descending" : "ascending") : null },
      unsorted ? label : element("button", { class: "sort", type: "button", onclick: sort, title: `Sort by ${label}` }, label),
      ...(meaning ? [" ", word(meaning, "?")] : set ? [" ", word(key, "?", { text: `${shared.capital(set)}.`, page: "docs/datasets.md" })] : []));
  }

  function content(column, row) {
    const cell = column.of(row, found), parts = [];
    if (!cell?.t) return element("td", { class: column.numeric && "n" }, column.key.startsWith(".") ? "" : DASH);
    let shown = cell.link ? link(cell.link, cell.t) : cell.t;
    if (cell.b) shown = element("strong", {}, shown);
    parts.push(cell.u ? element("span", { class: "tied" }, shown) : shown);
    if (cell.m) parts.push(element("span", { class: "sign" }, cell.m));
    if (cell.s) parts.push(" ", element("small", {}, cell.s));
    if (state.intervals && cell.i) parts.push(" ", element("small", { class: "interval" }, `[${cell.i}]`));
    return element("td", { class: column.numeric && "n", title: cell.w?.join("; ") ?? null }, ...parts);
  }

  function line(row) {
    const marks = [row.mark, row.source ? PUBLISHED : ""].filter(Boolean);
    board.rowsDrawn += 1;
    return element("tr", { class: [row.source ? "foreign" : "", row.role !== "method" ? "aside" : "",
      found.grouped && row.label.startsWith("+") ? "member" : ""].join(" ").trim() || null, "data-row": row.key },
    element("th", { scope: "row" }, element("button", { class: "details", type: "button", title: "Details",
      onclick: () => details(row) }, boardView.label(row, found)), ...marks.flatMap((mark) => [" ", element("small", {}, mark)])),
    ...found.columns.map((column) => content(column, row)));
  }

  function table() {
    const { board: of, view, rows, grouped } = found, bodies = [];
    for (const row of rows) {
      const section = grouped ? row.section : "";
      if (!bodies.length || bodies.at(-1).section !== section) bodies.push({ section, lines: [], title: row.source && grouped ? section : "" });
      bodies.at(-1).lines.push(line(row));
    }
    const width = found.columns.length + 1;
    const first = element("th", { scope: "col", "data-key": ORDER }, element("button", { class: "sort", type: "button",
      title: "Show the rows by base, as reports do", onclick: () => update({ sort: grouped ? "" : ORDER, worst: false }) }, "Method"));
    const marks = of.marks.flatMap((mark) => [" ", element("span", { class: "mark" }, mark)]);
    const focused = $("table").contains(document.activeElement) ? document.activeElement.closest("th[data-key]")?.dataset.key : undefined;
    $("table").replaceChildren(element("table", { "data-table": "board" },
      element("caption", {}, `${of.suite}, ${of.model}, ${of.protocol}: ${view.title} (${view.unit}), ${view.higher ? "higher" : "lower"} is better`, ...marks),
      element("thead", {}, element("tr", {}, first, ...found.columns.map(head))),
      ...bodies.map(({ lines, title }) => element("tbody", {},
        ...(title ? [element("tr", { class: "head" }, element("th", { scope: "rowgroup", colspan: width }, title))] : []), ...lines))));
    $("table").classList.toggle("tall", rows.length > 25); // its heading then stays in sight
    if (focused !== undefined) [...$("table").querySelectorAll("th[data-key]")].find((one) => one.dataset.key === focused)?.querySelector("button")?.focus();
  }

  function texts() {
    const { board: of, view, rows, total, hidden, unknown } = found, told = new Set();
    const title = data.suites[of.suite]?.title;
    const { whole, image } = of.parameters ?? {}, many = (n) => n.toLocaleString("en-US");
    const size = whole ? ` Size of ${of.model}: ${many(whole)} parameters, ${many(image)} of them in its image tower.` : "";
    $("what").replaceChildren(...withWords(`${title ?? of.suite}.${size}`, told));
    const which = of.measured && view !== of.views[0] ? `${of.views[0].title}: ` : ""; // it is of the first metric
    $("summary").replaceChildren(...withWords(which + of.summary, told));
    $("warnings").replaceChildren(...of.warnings.map((text) => element("p", { class: "warning" }, text)));
    const more = hidden.map(([role, n]) => `${n} ${n === 1 ? "is" : "are"} hidden: ${EXTRA[role].toLowerCase()}`);
    const without = of.rows.length - total;
    if (without) more.push(`${without} ${without === 1 ? "has" : "have"} other metrics only`);
    const lost = unknown.length ? `The address names what this board does not have: ${unknown.join(", ")}. ` : "";
    $("status").replaceChildren(`${lost}${rows.length ? `${rows.length} of ${total} rows` : "No row matches"}${more.length ? `; ${more.join("; ")}` : ""}. `,
      ...(rows.length < total ? [element("button", { type: "button", id: "clear",
        onclick: () => update({ q: "", bases: null, source: "", rows: found.extras }) }, "Show all")] : []));
    const hasRanks = found.columns.some(({ key }) => key === ".rank");
    const notes = [...view.notes, ...(hasRanks || !view.reason ? [] : [`${shared.capital(view.reason).replace(/\.$/, "")}.`]),
      ...of.caveats.map((text) => `Caveat: ${text}`)];
    $("notes").replaceChildren(...notes.map((text) => element("li", {}, ...withWords(text))));
    $("runs").replaceChildren(...of.runs.flatMap((name, i) => [i ? "; " : "Runs: ", name,
      ...Object.entries(data.runs[name]).flatMap(([what, address], j) => [j ? ", " : ": ", element("a", { href: address }, what)])]));
    $("facts").replaceChildren(...of.facts.map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, value))));
    $("link").href = `#${boardView.toAddress(state)}`;
  }

  // Figures ----------------------------------------------------------------------------------------

  // The value of a row in another view, in the column that counts there.
  function valueIn(row, name, key) {
    const view = found.board.views.find((one) => one.name === name);
    const at = view?.columns.findIndex((column) => column.key === key) ?? -1;
    return at < 0 ? undefined : view.cells[found.board.rows.indexOf(row)][at];
  }

  const labelOf = (key) => found.view.columns.find((column) => column.key === key)?.label ?? key;

  function points(name) {
    const { view, focus, rows } = found, unit = ` (${view.unit})`;
    const ece = found.board.views.find((one) => one.name === "ece"), accuracy = found.board.views[0];
    const other = focus !== "id" ? focus : view.columns.find(({ key }) => key === boardView.MEAN)?.key ?? view.columns.at(-1).key;
    const of = {
      "id-ood": () => other !== "id" && { x: (row) => found.cell(row, "id"), y: (row) => found.cell(row, other),
        labels: [`${labelOf("id")}: ${view.title}${unit}`, `${labelOf(other)}: ${view.title}${unit}`] },
      cost: () => found.board.cost_axis && { x: (row) => row.cost && { v: row.cost.images, t: row.cost.images.toLocaleString("en-US") },
        y: found.focused, labels: ["Images seen in training", `${labelOf(focus)}: ${view.title}${unit}`] },
      calibration: () => ece && { x: (row) => valueIn(row, accuracy.name, focus), y: (row) => valueIn(row, "ece", focus),
        labels: [`${labelOf(focus)}: ${accuracy.title} (${accuracy.unit})`, `${labelOf(focus)}: ${ece.title} (${ece.unit})`] },
    }[name]();
    if (!of) return null;
    const values = rows.flatMap((row) => {
      const [x, y] = [of.x(row), of.y(row)];
      if (x?.v === undefined || y?.v === undefined) return [];
      return [{ row: row.name + (row.source ? ` (${data.sources[row.source].title})` : ""), method: data.methods[row.method]?.title ?? row.name,
        base: row.base ? `on ${row.base}` : "no base", kind: row.role === "given" ? "method" : row.role, published: Boolean(row.source),
        x: x.v, y: y.v, tx: x.t, ty: y.t, colour: row.colour, shape: row.shape }];
    });
    return values.length > 1 ? { values, labels: of.labels } : null;
  }

  const looks = (values, name, look) => {
    const all = new Map(values.filter((value) => look !== "colour" || value.kind === "method").map((value) => [value[name], value[look]]));
    return { domain: [...all.keys()], range: [...all.values()] };
  };

  function specification(name, { values, labels }) {
    const spec = structuredClone(data.plots[name].spec), { encoding } = spec;
    [encoding.x.title, encoding.y.title] = labels;
    if (name === "cost") Object.assign(encoding.x, found.board.cost_axis);
    const colours = looks(values, "method", "colour"), shapes = looks(values, "base", "shape");
    for (const channel of [encoding.color, encoding.stroke]) {
      channel.scale = colours;
      if (!colours.domain.length) channel.legend = null; // Vega cannot render an empty legend
    }
    encoding.shape.scale = shapes;
    if (shapes.domain.length < 2) encoding.shape.legend = null;
    encoding.tooltip = [["row", "Row"], ["tx", labels[0]], ["ty", labels[1]]].map(([field, title]) => ({ field, title, type: "nominal" }));
    spec.description = `${data.plots[name].title}. ${labels.join(" and ")}.`;
    spec.datasets.points = [...values].sort((a, b) => (a.kind === "method") - (b.kind === "method"));
    return spec;
  }

  const PAUSE = 120; // milliseconds without a further change, such as the next letter of a search
  let isSeen = false, drawnFor = null, waiting;
  board.drawings = [];
  function draw() {
    if (drawnFor === found) return;
    drawnFor = found;
    board.drawings.forEach(({ view }) => view?.then((one) => one?.finalize()));
    board.drawings = [...document.querySelectorAll("figure[data-figure]")].flatMap((figure) => {
      const of = points(figure.dataset.figure);
      figure.hidden = !of;
      return of ? [new figures.Drawing(null, figure, specification(figure.dataset.figure, of))] : [];
    });
    board.drawings.forEach((drawing) => drawing.draw()); // all are there by now, so widths are final
  }

  // Details ----------------------------------------------------------------------------------------

  const facts = (pairs) => element("dl", {}, ...pairs.filter(([, value]) => value && value.length !== 0)
    .map(([name, value]) => element("div", {}, element("dt", {}, name), element("dd", {}, ...[value].flat()))));

  function details(row) {
    const method = data.methods[row.method], source = data.sources[row.source], { view } = found;
    const lines = view.columns.map(({ key, label }) => [label, found.cell(row, key)]).filter(([, cell]) => cell)
      .map(([label, cell]) => element("tr", {}, element("th", { scope: "row" }, label),
        element("td", { class: "n" }, cell.t, cell.m ?? "", " ", element("small", {}, cell.s ?? "")),
        element("td", { class: "n" }, cell.i ?? DASH), element("td", { class: "n" }, cell.r ? shared.ranksText(cell.r) : DASH),
        element("td", {}, cell.w?.join("; ") ?? "")));
    const about = facts([
      ["Method", method && [`${method.title}: ${method.idea}`]], ["Equation", method?.equation],
      ["Published", method?.venue && [link(method.paper, [method.venue, method.year].filter(Boolean).join(" "))]], ["Source", method?.source],
      ["Kind", method?.kind], ["Base", row.base], ["Seeds", row.seeds],
      ...Object.entries(row.source ? {} : row.choices ?? {}).map(([seed, text]) => [`Chosen, ${seed}`, text]),
      ...Object.entries(row.settings ?? {}).map(([name, text]) => [`Settings of ${name}`, text]),
      ["Images in training", row.cost?.images.toLocaleString("en-US")], ["Encoders per test image", row.cost && String(row.cost.encoders)],
      ["Caveats", row.caveats?.join(" ")],
    ]);
    const printed = source && [element("h3", {}, "Where it is printed"), facts([
      ["Table", [link(source.link, `${source.title}: ${source.paper}, ${source.where}`)]], ["Row as printed", row.label],
      ...Object.entries(row.choices ?? {}).map(([name, text]) => [shared.capital(name.replaceAll("_", " ")), text]), ["Read from", source.read], ["Second hand", source.second ? "yes: it reports numbers that others measured" : ""],
      ["How parameters were chosen", source.chosen], ["Training", source.training], ["ECE", source.ece], ["Comparable protocol", source.protocol]])];
    const commands = source ? source.commands?.join("\n") : row.command;
    const command = commands && [element("h3", {}, source ? "To attempt it" : "To measure it again"), element("pre", {}, commands)];
    open(row.name, about, ...(printed ?? []), element("h3", {}, `${view.title} (${view.unit})`),
      element("div", { class: "scroll" }, element("table", {}, element("thead", {}, element("tr", {},
        ...["Set", "Value", "95% interval", "Rank", "Remarks"].map((name, i) => element("th", { scope: "col", class: i > 0 && i < 4 && "n" }, name)))),
      element("tbody", {}, ...lines))), ...(command ?? []));
  }

  function open(title, ...parts) {
    const dialog = $("dialog");
    dialog.replaceChildren(element("header", {}, element("h2", {}, title),
      element("button", { class: "close", type: "button", onclick: () => dialog.close() }, "Close")), ...parts);
    dialog.showModal();
  }

  function cite() {
    const { board: of, rows } = found, address = location.href;
    const papers = new Set(rows.flatMap((row) => {
      const source = data.sources[row.source], method = data.methods[row.method];
      return source ? [`${source.paper}, ${source.where}${source.link ? `, ${source.link}` : ""}`]
        : method?.venue ? [`${method.title}: ${method.source}${method.paper ? `, ${method.paper}` : ""}`] : [];
    }));
    const suite = data.suites[of.suite];
    const versions = of.facts.filter(([name]) => name === "Versions" || name === "Commit").map((fact) => fact.join(": "));
    open("Cite this", element("p", {}, "bench, the data, and the papers of the rows in view:"),
      element("pre", { tabindex: "0" }, [data.citation, ...(suite ? [`${of.suite}: ${suite.citation}`] : []), ...papers, ...versions,
        `View: ${of.suite}, ${of.model}, ${of.protocol}, ${found.view.title}. ${address}`].join("\n\n")));
  }

  function download(kind) {
    const { board: of, view } = found, name = [of.suite, of.model, view.name].join("-").replace(/[^a-z0-9.]+/gi, "-");
    const text = kind === "csv" ? boardView.csv(found) : boardView.json(found, location.href);
    const address = URL.createObjectURL(new Blob([text], { type: kind === "csv" ? "text/csv" : "application/json" }));
    element("a", { href: address, download: `${name}.${kind}` }).click();
    setTimeout(() => URL.revokeObjectURL(address), 1000);
  }

  // ------------------------------------------------------------------------------------------------

  function render() {
    found = boardView.resolve(data, state);
    board.found = found;
    board.renders += 1;
    controls();
    texts();
    table();
    clearTimeout(waiting);
    if (isSeen) waiting = setTimeout(draw, PAUSE);
  }

  document.body.append(figures.tip);
  $("search").addEventListener("input", (event) => update({ q: event.target.value }));
  $("csv").addEventListener("click", () => download("csv"));
  $("json").addEventListener("click", () => download("json"));
  $("cite").addEventListener("click", cite);
  addEventListener("hashchange", () => { state = boardView.fromAddress(location.hash.slice(1)); render(); });
  addEventListener("beforeprint", draw);
  addEventListener("keydown", (event) => {
    if (event.key !== "/" || event.target.matches("input, select, textarea") || $("dialog").open) return;
    event.preventDefault();
    $("search").focus();
  });
  addEventListener("click", (event) => {
    for (const one of document.querySelectorAll("#choose details[open]")) if (!one.contains(event.target)) one.open = false;
  });
  $("introduction").replaceChildren(...withWords(data.introduction));
  render();
  document.querySelectorAll("[data-script]").forEach((one) => { one.hidden = false; });
  new IntersectionObserver((entries, observer) => {
    if (!entries.some(({ isIntersecting }) => isIntersecting)) return;
    observer.disconnect();
    isSeen = true;
    requestAnimationFrame(() => setTimeout(draw)); // after the table is on the screen
  }, { rootMargin: "200px" }).observe($("figures"));
  return board;
})();
