"use strict";
// The dialog with the records of a cell, or of both rows of a difference.

const records = (() => {
  const { DASH, averaged, between, capital, deviation, distinct, element, mean, text } = shared;

  const dialog = element("dialog", { "aria-labelledby": "record-title" });
  const FIRST = ["chosen", "chosen on", "command", "method", "base"];
  const TITLES = {
    method: "Recipe", base: "Recipe of the base",
    command: "Command to reproduce it (on all sets of the suite)",
  };
  const WORDS = { ece: "ECE", flyp: "FLYP", ft: "FT", lp: "LP", lr: "learning rate", nll: "NLL", vrf: "VRF" };

  const readable = (name) => name.split("_").map((word) => WORDS[word] ?? word).join(" ");
  const paragraph = (content, more = {}) => element("p", more, content);
  const measured = ({ title, scale: { unit } }) => (unit ? `${title} (${unit})` : title);
  const titleOf = (name, { label, mean: isMean, measure }) =>
    (measure ? `${name}${isMean ? "," : " on"} ${label}: ${measure.title}` : `${name}: temperature`);

  function open(chapter, title, body) {
    const { suite, model, protocol, notes } = chapter.data;
    const marks = notes.flatMap((note) => [" ", element("span", { class: "mark" }, note)]);
    const close = element("button", { type: "button", class: "close", onclick: () => dialog.close() }, "Close");
    dialog.replaceChildren(
      element("header", {}, element("h2", { id: "record-title" }, title), close),
      element("p", {}, `${suite}, ${model}, protocol ${protocol}`, ...marks), ...body);
    dialog.showModal();
    dialog.scrollTop = 0;
  }

  // Shows a cell; `places` are its sets, `measure` has scale, values and keys.
  function showRow(chapter, key, cell) {
    const row = chapter.rows.get(key), body = [];
    if (cell.reason) body.push(paragraph(`Missing: ${cell.reason}`, { class: "warning" }));
    if (!row.complete) body.push(paragraph("Cells of this row are missing, so it has no mean and is not ranked.", { class: "warning" }));
    body.push(...details(chapter, row, cell, 3));
    open(chapter, titleOf(row.name, cell), body);
  }

  // Shows a difference of two rows: values by seed, interval and McNemar's p-values, then each row.
  function showDifference(chapter, [one, other], cell) {
    const { scale, values } = cell.measure, name = `${one.name} minus ${other.name}`;
    const [a, b] = [one, other].map((row) => bySeed(row, values[row.index], cell));
    const { seeds, pairs } = paired(a, b);
    const differences = pairs.map(([x, y]) => x - y);
    const texts = (of, signed) => [...(of.length > 1 ? [mean(of)] : []), ...of].map((v) => text(scale, v, signed));
    const body = [];
    if (seeds.length) {
      const rows = [
        [one.name, ...texts(pairs.map(([x]) => x))], [other.name, ...texts(pairs.map(([, y]) => y))],
        ["Difference", ...texts(differences, true)],
      ];
      if (cell.p?.length === seeds.length) rows.push(["McNemar’s exact p", ...(seeds.length > 1 ? [""] : []), ...cell.p.map(pText)]);
      body.push(table(measured(cell.measure), ["Row", ...(seeds.length > 1 ? ["Mean"] : []), ...seeds.map(seedName)], rows));
    } else body.push(paragraph("No seed has values for both rows.", { class: "warning" }));
    if (cell.interval) body.push(paragraph(`95% interval of the difference, paired by sample: ${between(scale, cell.interval, true)}.`));
    for (const row of [one, other]) {
      body.push(element("section", { class: "row" }, element("h3", {}, row.name),
        ...details(chapter, row, { ...cell, interval: null }, 4)));
    }
    open(chapter, titleOf(name, cell), body);
  }

  const pText = (p) => (p < 0.001 ? "<0.001" : p.toFixed(3));
  const seedName = (seed) => (seed === null ? "Value" : `Seed ${seed}`);

  // Map from seed to value of a row, without missing values.
  function bySeed(row, values, { places, mean: isMean }) {
    const found = isMean ? averaged(values, places) ?? [] : values[places[0]];
    return new Map(row.seeds.map((seed, s) => [seed, found[s] ?? null]).filter(([, v]) => v !== null));
  }

  // The seeds that both rows have; a row without seeds is paired with every seed.
  function paired(a, b) {
    const seeds = [...(a.has(null) ? b : a).keys()].filter((seed) => a.has(null) || b.has(null) || b.has(seed));
    const of = (map, seed) => (map.has(null) ? map.get(null) : map.get(seed));
    const both = a.size && b.size ? seeds : [];
    return { seeds: both, pairs: both.map((seed) => [of(a, seed), of(b, seed)]) };
  }

  // A row's numbers by set and seed, its choices and its provenance.
  function details(chapter, row, cell, level) {
    const { data } = chapter, body = [];
    const found = data.records.cells[row.key] ?? {};
    const shown = cell.places.flatMap((place) => (found[data.places[place]] ?? []).map((one) => ({ ...one, place })));
    if (cell.measure) body.push(valuesTable(data, row, cell, shown));
    if (cell.interval) body.push(paragraph(`95% interval: ${between(cell.measure.scale, cell.interval)}.`));
    if (cell.scaled) body.push(temperatures(data, row));
    if (shown.some(({ weight }) => weight !== null)) body.push(weightsTable(data, row, cell, shown));
    if (!shown.length) return [...body, ...(cell.reason ? [] : [paragraph("There is no record.")])];
    const names = distinct(shown.flatMap(({ shared: known }) => Object.keys(known)));
    const section = (name) => fact(data, name, shown, level);
    const rest = names.filter((name) => !FIRST.includes(name)).sort();
    body.push(...FIRST.filter((name) => names.includes(name)).map(section));
    body.push(element("details", {}, element("summary", {}, "Protocol, data, versions and keys"),
      ...(cell.measure ? [keysTable(data, row, cell)] : []), ...rest.map(section)));
    return body;
  }

  function valuesTable(data, row, { measure, places, label, mean: isMean }, shown) {
    const { scale, values } = measure;
    const own = values[row.index], several = row.seeds.length > 1;
    const line = (name, of, n) => {
      const known = of.filter((value) => value !== null), std = known.length === of.length && deviation(known);
      const average = known.length ? text(scale, mean(known)) + (std ? ` ± ${text(scale, std)}` : "") : DASH;
      return [name, ...(several ? [average] : []), ...of.map((v) => (v === null ? DASH : text(scale, v))), n];
    };
    const rows = places.map((place) =>
      line(data.labels[place], own[place], String(shown.find((one) => one.place === place)?.n ?? DASH)));
    if (isMean) rows.push(line(label, averaged(own, places) ?? row.seeds.map(() => null), ""));
    return table(measured(measure), ["Set", ...(several ? ["Mean"] : []), ...row.seeds.map(seedName), "Samples"], rows);
  }

  function weightsTable(data, row, { places }, shown) {
    const weight = (place, seed) => shown.find((one) => one.place === place && one.seed === seed)?.weight ?? null;
    return table("Mean weight on the fine-tuned model", ["Set", ...row.seeds.map(seedName)], places.map((place) =>
      [data.labels[place], ...row.seeds.map((seed) => weight(place, seed)?.toFixed(2) ?? DASH)]));
  }

  function keysTable(data, row, { measure: { keys }, places }) {
    const lines = places.flatMap((place) => row.seeds.map((seed, s) =>
      [data.labels[place], seed === null ? DASH : String(seed), keys[row.index][place][s] ?? DASH]));
    return table("Keys of the records", ["Set", "Seed", "Key"], lines, 3);
  }

  function temperatures(data, row) {
    const found = data.temperatures[row.index].map((t) => (t === null ? DASH : t.toFixed(3)));
    return table("Temperature", row.seeds.map(seedName), [found], 0);
  }

  // A table; the first `texts` columns are left-aligned.
  function table(caption, head, rows, texts = 1) {
    const line = (of, tag) => element("tr", {}, ...of.map((content, i) => element(tag(i),
      { class: i < texts ? null : "n", scope: { th: tag === all ? "col" : "row" }[tag(i)] ?? null }, content)));
    const all = () => "th", first = (i) => (i || !texts ? "td" : "th");
    const grid = element("table", {}, element("caption", {}, caption),
      element("thead", {}, line(head, all)), element("tbody", {}, ...rows.map((row) => line(row, first))));
    return element("div", { class: "scroll", role: "region", tabindex: "0", "aria-label": caption }, grid);
  }

  // A fact about records: once if they share it, else each value with its sets and seeds.
  function fact(data, name, shown, level) {
    const stating = shown.filter(({ shared: known }) => name in known);
    const numbers = distinct(stating.map(({ shared: known }) => known[name]));
    const parts = numbers.flatMap((number) => {
      const having = stating.filter(({ shared: known }) => known[name] === number);
      const who = having.length < shown.length ? [paragraph(owners(data, having, shown), { class: "who" })] : [];
      return [...who, factValue(name, data.records.pool[number], having)];
    });
    return element("section", {}, element(`h${level}`, {}, TITLES[name] ?? capital(readable(name))), ...parts);
  }

  function factValue(name, value, having) {
    if (name === "command") {
      const seeds = distinct(having.map(({ seed }) => seed)).filter((seed) => seed !== null);
      return element("pre", {}, seeds.length ? `${value} --seeds ${seeds.join(",")}` : value);
    }
    return typeof value === "object" ? listed(value, readable) : paragraph(String(value));
  }

  // Sets and seeds of some of the records, as text; a set or seed list that is complete is left out.
  function owners(data, having, shown) {
    const places = distinct(having.map(({ place }) => place)), seeds = distinct(having.map(({ seed }) => seed));
    const all = (what) => distinct(shown.map((one) => one[what])).length;
    const seedsText = (of) => `seed${of.length > 1 ? "s" : ""} ${of.join(", ")}`;
    if (having.length < places.length * seeds.length) {
      return places.map((place) => `${data.labels[place]} (${seedsText(
        having.filter((one) => one.place === place).map(({ seed }) => seed))})`).join(", ");
    }
    const some = places.length < all("place") ? places.map((place) => data.labels[place]).join(", ") : "";
    if (seeds.length === all("seed")) return some;
    return some ? `${some}; ${seedsText(seeds)}` : capital(seedsText(seeds));
  }

  // A value as a list; names of packages stay as they are.
  function listed(value, naming) {
    const one = (name, inner) => {
      if (Array.isArray(inner)) return inner.map((v) => (typeof v === "object" ? JSON.stringify(v) : v)).join(", ");
      if (inner === null || typeof inner !== "object") return String(inner ?? "none");
      return listed(inner, name === "versions" ? String : naming);
    };
    return element("dl", {}, ...Object.entries(value).map(([name, inner]) => element("div", {},
      element("dt", {}, naming(name)), element("dd", {}, one(name, inner)))));
  }

  return { dialog, showDifference, showRow };
})();
