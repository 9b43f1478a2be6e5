"use strict";
// Interaction of the page: sort, filter and hide rows and columns, open records, and recompute
// averages, intervals and ranks for a subset of the shifts. This script uses all other scripts.

(() => {
  const { averaged, box, deviation, distinct, element, mean, option, text } = shared;

  const parse = (name) =>
    [...document.querySelectorAll(`script.${name}`)].map((s) => () => JSON.parse(s.textContent));
  const later = (make) => { let made; return () => (made ??= { value: make() }).value; };

  class Chapter {
    constructor(section, data, samples, confidences) {
      this.section = section;
      this.data = data;
      this.samples = later(() => { const s = samples(); return s && new stats.Samples(s, data.rows.map(({ seeds }) => seeds)); });
      this.confidences = confidences;
      this.columns = later(() => samples()?.columns ?? null);
      this.rows = new Map(data.rows.map((row, index) => [row.key, { ...row, index }]));
      this.pairs = new Map(data.pairs.map((pair) => [pair.key, pair]));
      this.ticked = new Set(data.over);
      this.found = null;
      this.summary = section.querySelector(".summary");
      this.summary.written = this.summary.textContent;
      this.intervals = false;
      const sortable = 'table[data-table]:not([data-table="choices"], [data-table="trainings"], [data-table="published"], [data-table="elsewhere"])';
      this.tables = [...section.querySelectorAll(sortable)].map(
        (table) => new tables.Table(this, table));
      this.status = element("span", { role: "status" });
      this.controls();
    }

    get subset() { return this.ticked.size < this.data.over.length; }
    get over() { return this.data.over.filter((place) => this.ticked.has(place)); }

    // The last column: the sets in its mean, or the last set if there is no mean.
    last(over, label) {
      const { data } = this;
      if (!label) return { places: [data.places.length - 1], label: data.labels.at(-1) };
      return { places: this.subset ? this.over : over, label: this.found?.label ?? label, mean: true };
    }

    controls() {
      const bar = this.section.querySelector(".controls");
      const board = this.tables.find((table) => table.name === "leaderboard");
      if (!board) return;
      const columns = element("div");
      board.heads.slice(1).forEach((head, i) => columns.append(
        box(head.dataset.label, true, (on) => board.hide(i + 1, !on))));
      bar.append(element("details", {}, element("summary", {}, "Columns"), columns));
      if (Object.keys(this.data.intervals).length) {
        bar.append(box("Intervals", false, (on) => { this.intervals = on; this.render(); }));
      }
      if (this.data.pairs.length) {
        bar.append(box("Difference rows", true, (on) => this.showDifferences(on)));
      }
      if (this.data.over.length > 1) {
        this.ticks(board);
        bar.append(element("button", { type: "button", onclick: () => this.tick(this.data.over) },
          "All shifts"));
      }
      bar.append(this.status);
      bar.hidden = false;
      board.table.parentElement.before(bar);
    }

    showDifferences(on) {
      for (const tr of this.section.querySelectorAll("tr.difference")) tr.hidden = !on;
    }

    // A checkbox above each shift of the mean, to include it in the mean.
    ticks(board) {
      this.boxes = this.data.over.map((place) => {
        const label = this.data.labels[place];
        const input = element("input", { type: "checkbox", checked: true,
          "aria-label": `${label} counts in the mean`,
          onchange: () => this.tick(this.data.over.filter((p, i) => this.boxes[i].checked)) });
        board.heads[place + 1].append(element("label", { class: "tick" }, input, "in mean"));
        return input;
      });
    }

    tick(places) {
      if (!places.length) { this.status.textContent = "Select at least one shift."; places = [...this.ticked]; }
      this.ticked = new Set(places);
      this.boxes.forEach((input, i) => { input.checked = this.ticked.has(this.data.over[i]); });
      this.render();
    }

    render() {
      const found = this.found = this.subset ? this.computed() : null;
      for (const table of this.tables) table.render(found);
      const names = this.over.map((place) => this.data.labels[place]).join(", ");
      this.status.textContent = found === null ? "" :
        `Mean over ${this.over.length} of ${this.data.over.length} shifts: ${names}. ` +
        "Computed in this page; this is not the suite's OOD mean." +
        (found.sure ? "" : " There are no intervals and ranks, as this page has no samples.");
      this.summary.textContent = found ? this.summarized(found) : this.summary.written;
      for (const drawing of figures.drawings.filter(({ chapter }) => chapter === this)) {
        drawing.over(found && this.over);
        this.markFigure(drawing, found);
      }
    }

    // The headline for the selected shifts; bench.report.headline writes it for all shifts.
    summarized({ label, rows, ranks, over }) {
      const { scale, labels, guessing } = this.data, higher = scale.higher_is_better, sign = higher ? -1 : 1;
      const ranked = rows.filter((one) => one.row.ranked && one.mean !== null).sort((a, b) => sign * (a.mean - b.mean));
      const places = `On ${over.map((place) => labels[place]).join(", ")} only`;
      if (!ranked.length) return `${places}. Nothing is ranked.`;
      if (guessing) return guessing;
      const top = text(scale, ranked[0].mean);
      const leaders = ranked.filter((one) => text(scale, one.mean) === top).map((one) => one.row);
      const best = leaders.map((row) => row.name);
      const last = best.pop(), together = best.length ? `${best.join(", ")} and ${last}` : last;
      const lead = `${places}, ${together} ${best.length ? "share" : "has"} the ${higher ? "highest" : "lowest"} ${label}, ${top}.`;
      if (!ranks.size) return lead;
      if (this.data.one_seed && ranks.size > 2) return `${lead} ${this.data.one_seed}`;
      const worse = leaders.map((row) => [row.name, ranks.size - ranks.get(row.index)[1]]), others = ranks.size - 1;
      const doubt = worse.length > 1 ? this.shared(worse, others) : this.doubt(worse[0][1], others);
      return `${lead} ${doubt}`.trimEnd();
    }

    // How many of the other rows are surely worse than the best, as others_sentence says it.
    doubt(worse, others) {
      if (!others) return "";
      const by = `${this.data.scale.higher_is_better ? "lower" : "higher"} by more than chance explains`;
      const rest = others - worse;
      if (!worse) return `The data do not separate the best from the ${others === 1 ? "other row" : `${others} other rows`}.`;
      if (!rest) return `${["", "The other row is", "Both other rows are"][others] ?? `All ${others} other rows are`} ${by}.`;
      return `Of the ${others} other rows, ${worse} ${worse === 1 ? "is" : "are"} ${by}; the data do not separate the best from the remaining ${rest === 1 ? "one" : rest}.`;
    }

    // How many rows are surely worse than each of those that share the lead, as shared_sentence says it.
    shared([[first, count], ...more], others) {
      const side = this.data.scale.higher_is_better ? "above" : "below";
      const rows = others === 1 ? "the other row" : `the ${others} other rows`;
      const of = others === 1 && count === 1 ? rows : `${count || "none"} of ${rows}`;
      const rest = more.map(([name, number]) => `, and ${name} ${side} ${number || "none"}`).join("");
      return `By more than chance explains, ${first} is ${side} ${of}${rest}.`;
    }

    // Marks a figure, or the table of a figure that was updated, if its mean is over all shifts.
    markFigure({ figure, spec, places }, found) {
      const { mean: label } = this.data, isLive = places !== undefined;
      const title = figure.querySelector("figcaption b"), [words] = title.childNodes;
      words.written ??= words.data;
      words.data = found && isLive ? words.written.replace(label, found.label) : words.written;
      figure.querySelector(".mark.all")?.remove();
      if (!found || !(isLive || JSON.stringify(spec).includes(label))) return;
      const holder = isLive ? figure.querySelector("summary") : title;
      holder?.append(element("span", { class: "mark all" }, `${label}: over all shifts`));
    }

    // All values that depend on the selected shifts.
    computed() {
      const { data } = this;
      const label = `mean of ${this.over.length}`;
      const rows = data.rows.map((row, r) => {
        const values = averaged(data.cell.values[r], this.over);
        return { row: this.rows.get(row.key), mean: values && mean(values), std: values && deviation(values) };
      });
      const found = { label, rows, over: this.over, sure: false, pairs: new Map(), ranks: new Map() };
      const columns = this.columns();
      const sets = columns && this.over.flatMap((place) => columns[place]);
      if (!sets || this.over.some((place) => !columns[place].length)) return found;
      const samples = this.samples();
      found.sure = true;
      const zero = this.rows.get("zero-shot")?.index;
      rows.forEach((one, r) => {
        if (!samples.has(r, sets)) return;
        one.interval = samples.interval(r, sets);
        if (zero !== undefined && r !== zero && samples.has(zero, sets)) {
          one.difference = samples.difference(r, zero, sets);
        }
      });
      for (const { key, of } of data.pairs) {
        const [a, b] = of.map((row) => this.rows.get(row));
        if (a && b && samples.has(a.index, sets) && samples.has(b.index, sets)) {
          found.pairs.set(key, samples.difference(a.index, b.index, sets));
        }
      }
      const ranked = data.rows.flatMap((row, r) => (row.ranked && !data.reason ? [r] : []));
      if (ranked.length && ranked.every((r) => samples.has(r, sets))) {
        samples.ranks(ranked, sets, zero).forEach((range, i) => found.ranks.set(ranked[i], range));
      }
      return found;
    }
  }

  function filters(chapters) {
    const bar = document.getElementById("filters");
    const usual = { method: "", base: "", suite: "", protocol: "" }, state = { ...usual }, inputs = {};
    const status = element("span", { role: "status" });
    const clear = element("button", { type: "button", hidden: true,
      onclick: () => { Object.assign(state, usual); apply(); inputs.method.focus(); } }, "Clear");
    const apply = () => {
      const words = state.method.toLowerCase().split(/\s+/).filter(Boolean);
      const matches = (row) => words.every((word) => row.name.toLowerCase().includes(word)) &&
        (!state.base || row.base === state.base || row.key === state.base);
      for (const [name, input] of Object.entries(inputs)) if (input.value !== state[name]) input.value = state[name];
      let shown = 0, all = 0;
      for (const chapter of chapters) {
        const { data, section, tables: own } = chapter;
        section.hidden = Boolean((state.suite && state.suite !== data.suite) || (state.protocol && state.protocol !== data.protocol));
        own.forEach((table) => table.filter(matches));
        figures.filter(chapter, matches);
        all += data.rows.length;
        if (!section.hidden) shown += data.rows.filter(matches).length;
      }
      clear.hidden = Object.values(state).every((value) => !value);
      status.textContent = clear.hidden ? "" : shown ? `${shown} of ${all} rows` : "No row matches.";
    };
    inputs.method = element("input", { type: "search", placeholder: "method", "aria-label": "Filter by method",
      oninput: (e) => { state.method = e.target.value; apply(); } });
    bar.append(element("label", {}, "Filter ", inputs.method));
    const select = (name, label, values, least = 2) => {
      if (values.length < least) return;
      inputs[name] = element("select", { name, onchange: (e) => { state[name] = e.target.value; apply(); } },
        option("", "all"), ...values.map((value) => option(value, value)));
      bar.append(element("label", {}, `${label} `, inputs[name]));
    };
    const bases = chapters.flatMap(({ data }) => data.rows.map(({ base }) => base));
    select("base", "Base", distinct(bases.filter(Boolean)), 1);
    select("suite", "Suite", distinct(chapters.map(({ data }) => data.suite)));
    select("protocol", "Protocol", distinct(chapters.map(({ data }) => data.protocol)));
    bar.append(clear, status);
    bar.hidden = false;
  }

  function start() {
    const [samples, levels] = [parse("samples"), parse("levels")];
    const sections = [...document.querySelectorAll("section.chapter")];
    const chapters = parse("data").map((data, i) =>
      new Chapter(sections[i], data(), later(samples[i]), later(levels[i])));
    document.body.append(records.dialog, figures.tip);
    filters(chapters);
    for (const chapter of chapters) {
      for (const figure of chapter.section.querySelectorAll("figure[data-figure]")) {
        const spec = chapter.data.charts[figure.dataset.figure];
        if (spec) figures.drawings.push(new figures.Drawing(chapter, figure, spec));
      }
    }
    figures.drawings.forEach((drawing) => drawing.addInputs());
    figures.watch();
    globalThis.benchReport = { chapters, drawings: figures.drawings };
  }

  start();
})();
