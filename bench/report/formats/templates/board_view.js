"use strict";
// What the board shows for a choice: which rows and columns, in which order. It computes no number.

const boardView = (() => {
  const { distinct } = shared;
  const MEAN = "mean", ORDER = "order";
  const EXTRA = { transductive: "Transductive", control: "Ablations", oracle: "Oracles", given: "Fixed parameters" };
  const MEASURED = "measured", PUBLISHED = "published";

  const FIXED = [ // columns beside the numbers; `of` gives a text, and v by which rows are sorted
    { key: ".rank", label: "Rank", numeric: true, of: (row, found) => rank(found.focused(row)) },
    { key: ".interval", label: "95% interval", numeric: true, unsorted: true, of: (row, found) => ({ t: found.focused(row)?.i ?? "" }) },
    { key: ".year", label: "Paper", last: true, of: (row, found) => venue(row, found.data) },
    { key: ".chosen", label: "Chosen", last: true, unsorted: true, of: (row) => ({ t: row.chosen ?? "" }) },
    { key: ".images", label: "Images", last: true, numeric: true, of: (row) => counted(row.cost?.images) },
    { key: ".encoders", label: "Encoders", last: true, numeric: true, of: (row) => counted(row.cost?.encoders) },
  ];

  const rank = (cell) => (cell?.r ? { t: shared.ranksText(cell.r), v: cell.r[0] + cell.r[1] / 1e6 } : { t: "" });
  const counted = (n) => (n === undefined ? { t: "" } : { t: n.toLocaleString("en-US"), v: n });

  function venue(row, data) {
    const table = data.sources[row.source], method = data.methods[row.method];
    if (table) return { t: table.title, link: table.link, v: table.title };
    const t = [method?.venue, method?.year].filter(Boolean).join(" ");
    return { t, link: method?.paper, v: method?.year ?? undefined };
  }

  const DEFAULTS = { suite: "", model: "", protocol: "", metric: "", bases: null, rows: null, source: "",
    q: "", sort: "", worst: false, hide: [".encoders"], intervals: false };
  const LISTS = ["bases", "rows", "hide"], SWITCHES = ["worst", "intervals"];

  // The state in an address: only what differs from the first view.
  function toAddress(state) {
    const found = new URLSearchParams();
    for (const [name, usual] of Object.entries(DEFAULTS)) {
      const value = state[name];
      if (value === null || String(value) === String(usual)) continue;
      found.set(name, LISTS.includes(name) ? JSON.stringify(value) : SWITCHES.includes(name) ? "1" : value);
    }
    return found.toString();
  }

  function fromAddress(text) {
    const state = { ...DEFAULTS };
    for (const [name, value] of new URLSearchParams(text)) {
      if (!Object.hasOwn(DEFAULTS, name)) continue;
      if (SWITCHES.includes(name)) state[name] = value === "1";
      else if (!LISTS.includes(name)) state[name] = value;
      else {
        try {
          const list = JSON.parse(value);
          if (Array.isArray(list)) state[name] = list.map(String);
        } catch { /* what is no list is left out */ }
      }
    }
    return state;
  }

  // The board of a state, and names in the state that there are not.
  function chosen(data, state) {
    const unknown = [];
    let left = data.boards;
    for (const part of ["suite", "model", "protocol"]) {
      const found = left.filter((board) => board[part] === state[part]);
      if (state[part] && !found.length) unknown.push(state[part]);
      const first = left.includes(data.boards[data.first]) ? data.boards[data.first] : left[0];
      left = found.length ? found : left.filter((board) => board[part] === first[part]);
    }
    const board = left[0], view = board.views.find(({ name }) => name === state.metric);
    if (state.metric && !view) unknown.push(state.metric);
    return { board, view: view ?? board.views[0], unknown };
  }

  // The choices for a part of the state, given the parts before it.
  function choices(data, board, part) {
    const before = { suite: [], model: ["suite"], protocol: ["suite", "model"] }[part];
    return distinct(data.boards.filter((one) => before.every((name) => one[name] === board[name])).map((one) => one[part]));
  }

  const matches = (row, data, query) => {
    const method = data.methods[row.method], text = [row.name, row.key, row.mark, row.group, method?.title, method?.venue,
      method?.year, data.sources[row.source]?.title, row.source ? PUBLISHED : MEASURED].join(" ").toLowerCase();
    return query.toLowerCase().split(/\s+/).every((word) => text.includes(word));
  };

  // Everything that is shown.
  function resolve(data, state) {
    const { board, view, unknown } = chosen(data, state);
    const at = new Map(view.columns.map(({ key }, i) => [key, i]));
    const wanted = at.has(state.sort) || state.sort === ORDER || FIXED.some(({ key, unsorted }) => key === state.sort && !unsorted);
    if (state.sort && !wanted) unknown.push(state.sort);
    const usual = at.has(MEAN) ? MEAN : view.columns.at(-1).key;
    const sort = wanted ? state.sort : usual;
    const focus = at.has(sort) ? sort : usual;
    const index = new Map(board.rows.map((row, i) => [row, i]));
    const cell = (row, key) => view.cells[index.get(row)][at.get(key)];
    const found = { data, state, board, view, unknown, sort, focus, cell, focused: (row) => cell(row, focus) };

    const filled = board.rows.filter((row) => view.columns.some(({ key }) => cell(row, key)));
    found.groups = distinct(filled.map(({ group }) => group));
    found.extras = Object.keys(EXTRA).filter((role) => filled.some((row) => row.role === role));
    found.sources = distinct(filled.map((row) => row.source ?? MEASURED));
    const plain = filled.some((row) => row.role === "method");
    found.roles = state.rows ?? (plain ? ["transductive"] : found.extras);
    const bases = state.bases ?? found.groups;
    const from = (row) => !state.source || (row.source ?? MEASURED) === state.source || (state.source === PUBLISHED && row.source);
    const inScope = filled.filter((row) => bases.includes(row.group) && from(row) && (!state.q.trim() || matches(row, data, state.q.trim())));
    found.rows = inScope.filter((row) => row.role === "method" || found.roles.includes(row.role));
    found.hidden = found.extras.filter((role) => !found.roles.includes(role))
      .map((role) => [role, inScope.filter((row) => row.role === role).length]).filter(([, n]) => n);
    found.total = filled.length;

    const some = (has) => (found.rows.length ? found.rows : filled).some(has);
    const fixed = FIXED.filter(({ of }) => some((row) => of(row, found).t));
    const printed = view.columns.filter(({ key }) => board.measured || key === focus || some((row) => cell(row, key))); // no table prints all
    const numbers = printed.map(({ key, label }) => ({ key, label, numeric: true, of: (row) => cell(row, key) ?? { t: "" } }));
    numbers.sort((a, b) => (b.key === usual) - (a.key === usual)); // the column that counts stands first
    const of = focus === usual ? "" : `, ${view.columns[at.get(focus)].label}`; // whose rank and interval it is
    const [rank, interval] = [".rank", ".interval"].map((key) => fixed.filter((one) => one.key === key)
      .map((one) => ({ ...one, label: one.label + of, plain: one.label })));
    const all = [...rank, numbers[0], ...interval, ...numbers.slice(1), ...fixed.filter(({ last }) => last)];
    found.allColumns = all;
    found.columns = all.filter(({ key }) => !state.hide.includes(key));
    found.rows = ordered(found, all.find(({ key }) => key === sort));
    found.grouped = sort === ORDER;
    return found;
  }

  function ordered(found, column) {
    if (!column) return found.rows;
    const { view, state } = found, falls = column.key.startsWith(".") ? false : view.higher;
    const sign = (falls ? -1 : 1) * (state.worst ? -1 : 1);
    const values = new Map(found.rows.map((row) => { const { v, t } = column.of(row, found); return [row, v ?? (t || undefined)]; }));
    const compare = (a, b) => (typeof a === typeof b ? (a < b ? -1 : a > b ? 1 : 0) : typeof a < typeof b ? -1 : 1);
    return [...found.rows].sort((one, other) => {
      const [a, b] = [values.get(one), values.get(other)];
      if (a === undefined || b === undefined) return (a === undefined) - (b === undefined);
      return sign * compare(a, b);
    });
  }

  const label = (row, found) => (found.grouped ? row.label : row.name);
  const kind = (row) => (row.source ? "published" : row.role);

  // What can be downloaded: the rows and columns as they are shown.
  function table(found) {
    const { board, view } = found;
    const head = ["row", "method", "base", "kind", "source", ...found.columns.map(({ label }) => label)];
    const lines = found.rows.map((row) => [row.name, row.method, row.base ?? "", kind(row),
      found.data.sources[row.source]?.title ?? MEASURED, ...found.columns.map(({ of }) => of(row, found)?.t ?? "")]);
    return { head, lines, of: { suite: board.suite, model: board.model, protocol: board.protocol, parameters: board.parameters, metric: view.title, unit: view.unit } };
  }

  // A text that no spreadsheet takes for a formula, as in bench's CSV reports.
  const inert = (text) => (/^\s*[=+\-@＝＋－＠]/.test(text) && Number.isNaN(Number(text)) ? `'${text}` : text);
  const quoted = (text) => (/[",\n\r]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text);

  function csv(found) {
    const { head, lines } = table(found);
    return [head, ...lines].map((line) => line.map((text) => quoted(inert(String(text)))).join(",")).join("\n") + "\n";
  }

  function json(found, address) {
    const { board, view } = found, { of } = table(found);
    const rows = found.rows.map((row) => ({ key: row.key, name: row.name, method: row.method, base: row.base ?? null, kind: kind(row),
      source: found.data.sources[row.source] ?? MEASURED, seeds: row.seeds ?? null, chosen: row.chosen ?? null, cost: row.cost ?? null,
      cells: Object.fromEntries(view.columns.filter(({ key }) => !found.state.hide.includes(key)).map(({ key }) => [key, named(found.cell(row, key))])) }));
    const notes = [...board.warnings, ...board.caveats, ...view.notes, ...(view.reason ? [view.reason] : [])];
    return JSON.stringify({ ...of, address, higher_is_better: view.higher, notes, rows }, null, 1) + "\n";
  }

  const named = (cell) => cell && { value: cell.v ?? null, text: cell.t, deviation: cell.s ?? null, interval: cell.i ?? null,
    rank: cell.r ?? null, mark: cell.m ?? null, remarks: cell.w ?? [] };

  return { DEFAULTS, EXTRA, MEASURED, MEAN, ORDER, PUBLISHED, choices, csv, fromAddress, json, kind, label, resolve, toAddress };
})();
