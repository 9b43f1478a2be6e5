"use strict";
// What made a number: the records of a cell, opened in a dialog.

const records = (() => {
  const { DASH, element } = shared;

  const dialog = element("dialog", { "aria-labelledby": "record-title" });
  const AFTER = ["choice", "chosen on", "method", "base", "command"];

  function showRecord(chapter, key, place, reason) {
    const { data } = chapter, row = chapter.rows.get(key);
    const label = place === null ? "all sets" : data.labels[data.places.indexOf(place)];
    const records = data.records.cells[key] ?? {};
    const shown = place === null ? Object.values(records).flat() : records[place] ?? [];
    const marks = data.notes.map((note) => element("span", { class: "mark" }, note));
    const body = [element("p", {}, `${data.suite}, ${data.model}, protocol ${data.protocol} `, ...marks)];
    if (reason) body.push(element("p", { class: "warning" }, `Missing: ${reason}`));
    if (!row.complete) body.push(element("p", { class: "warning" }, "This row lacks cells: it has no mean and is not ranked."));
    if (shown.length) body.push(valuesTable(data, records, shown), ...facts(data, place === null ? shown.slice(0, 1) : shown));
    else if (!reason) body.push(element("p", {}, "No record."));
    const close = element("button", { type: "button", class: "close", onclick: () => dialog.close() }, "Close");
    dialog.replaceChildren(
      element("header", {}, element("h2", { id: "record-title" }, `${row.name} on ${label}`), close), ...body);
    dialog.showModal();
  }

  function valuesTable(data, records, shown) {
    const names = ["Set", "Seed", "Metric", "Value", "Samples", "Key"];
    const place = (record) => Object.keys(records).find((p) => records[p].includes(record));
    const head = element("tr", {}, ...names.map((n) => element("th", { scope: "col" }, n)));
    const rows = shown.map((record) => element("tr", {}, ...[
      data.labels[data.places.indexOf(place(record))], record.seed ?? DASH, record.metric,
      `${record.value.toPrecision(6)}`, record.n, record.key ?? DASH,
    ].map((value) => element("td", {}, String(value)))));
    return element("div", { class: "scroll" }, element("table", {},
      element("thead", {}, head), element("tbody", {}, ...rows)));
  }

  // What the records share is said once; what differs by seed, for each.
  function facts(data, shown) {
    const { pool } = data.records;
    const names = [...new Set(shown.flatMap(({ shared }) => Object.keys(shared)))];
    const place = (name) => (AFTER.indexOf(name) + 1 || AFTER.length + 1);
    names.sort((a, b) => place(a) - place(b) || (a < b ? -1 : 1));
    return names.map((name) => {
      const numbers = [...new Set(shown.map(({ shared }) => shared[name]))].filter((n) => n !== undefined);
      const parts = numbers.map((number) => {
        const seeds = shown.filter(({ shared }) => shared[name] === number).map(({ seed }) => seed);
        const who = numbers.length > 1 ? [element("p", {}, `Seed ${seeds.join(", ")}`)] : [];
        const value = pool[number];
        const said = name === "command" ? element("pre", {}, value)
          : typeof value === "object" ? listed(value) : element("p", {}, String(value));
        return [...who, said];
      });
      const title = name === "command" ? "Command that makes it again (all sets of the suite)" : name[0].toUpperCase() + name.slice(1);
      return element("section", {}, element("h3", {}, title), ...parts.flat());
    });
  }

  function listed(value) {
    return element("dl", {}, ...Object.entries(value).map(([name, inner]) => element("div", {},
      element("dt", {}, name),
      element("dd", {}, inner !== null && typeof inner === "object" && !Array.isArray(inner) ? listed(inner)
        : Array.isArray(inner) ? inner.map((v) => (typeof v === "object" ? JSON.stringify(v) : v)).join(", ") : String(inner ?? "none")))));
  }

  return { dialog, showRecord };
})();
