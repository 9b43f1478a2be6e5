"use strict";
// What the page can do beyond being read: sort, filter, hide, open records, and repeat averages,
// intervals and ranks on any of the shifts. It is written after the other scripts, and uses them.

(() => {
  const { averaged, box, deviation, element, mean, option } = shared;

  const parse = (name) =>
    [...document.querySelectorAll(`script.${name}`)].map((s) => () => JSON.parse(s.textContent));
  const later = (make) => { let made; return () => (made ??= { value: make() }).value; };

  class Chapter {
    constructor(section, data, samples, confidences) {
      this.section = section;
      this.data = data;
      this.samples = later(() => { const s = samples(); return s && new stats.Samples(s); });
      this.confidences = confidences;
      this.columns = later(() => samples()?.columns ?? null);
      this.rows = new Map(data.rows.map((row, index) => [row.key, { ...row, index }]));
      this.ticked = new Set(data.over);
      this.intervals = false;
      const sortable = 'table[data-table]:not([data-table="choices"], [data-table="published"])';
      this.tables = [...section.querySelectorAll(sortable)].map(
        (table) => new tables.Table(this, table));
      this.status = element("span", { role: "status" });
      this.controls();
    }

    get subset() { return this.ticked.size < this.data.over.length; }
    get over() { return this.data.over.filter((place) => this.ticked.has(place)); }

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

    // A box over every shift of the mean: which of them count.
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
      if (!places.length) { this.status.textContent = "At least one shift has to count."; places = [...this.ticked]; }
      this.ticked = new Set(places);
      this.boxes.forEach((input, i) => { input.checked = this.ticked.has(this.data.over[i]); });
      this.render();
    }

    render() {
      const found = this.subset ? this.computed() : null;
      for (const table of this.tables) table.render(found);
      const names = this.over.map((place) => this.data.labels[place]).join(", ");
      this.status.textContent = found === null ? "" :
        `Mean over ${this.over.length} of ${this.data.over.length} shifts: ${names}. ` +
        "Computed in this page; not the suite's OOD mean." +
        (found.sure ? "" : " No intervals and ranks: samples are not in this page.");
      figures.drawings.filter(({ chapter }) => chapter === this).forEach((drawing) => drawing.over(found && this.over));
    }

    // All that depends on which shifts count.
    computed() {
      const { data } = this;
      const label = `mean of ${this.over.length}`;
      const rows = data.rows.map((row, r) => {
        const values = averaged(data.values[r], this.over);
        return { row, mean: values && mean(values), std: values && deviation(values) };
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
      for (const { key, of, base } of data.pairs) {
        const [a, b] = of.map((method) => this.rows.get(base === null ? method : `${method}:${base}`));
        if (a && b && samples.has(a.index, sets) && samples.has(b.index, sets)) {
          found.pairs.set(key, samples.difference(a.index, b.index, sets));
        }
      }
      const ranked = data.rows.flatMap((row, r) => (row.ranked && !data.reason ? [r] : []));
      if (ranked.length && ranked.every((r) => samples.has(r, sets))) {
        samples.ranks(ranked, sets).forEach((range, i) => found.ranks.set(ranked[i], range));
      }
      return found;
    }
  }

  function filters(chapters) {
    const bar = document.getElementById("filters");
    const distinct = (values) => [...new Set(values)];
    const state = { method: "", base: "", suite: "", protocol: "" };
    const apply = () => {
      const words = state.method.toLowerCase().split(/\s+/).filter(Boolean);
      for (const chapter of chapters) {
        const { suite, protocol } = chapter.data;
        chapter.section.hidden = Boolean((state.suite && state.suite !== suite) || (state.protocol && state.protocol !== protocol));
        const matches = (row) => words.every((word) => row.name.toLowerCase().includes(word)) &&
          (!state.base || row.base === state.base || row.key === state.base);
        chapter.tables.forEach((table) => table.filter(matches));
        figures.filter(chapter, matches);
      }
    };
    const input = element("input", { type: "search", placeholder: "method", "aria-label": "Filter by method",
      oninput: (e) => { state.method = e.target.value; apply(); } });
    bar.append(element("label", {}, "Filter ", input));
    const select = (name, label, values, least = 2) => {
      if (values.length < least) return;
      bar.append(element("label", {}, `${label} `, element("select", { name,
        onchange: (e) => { state[name] = e.target.value; apply(); } },
      option("", "all"), ...values.map((value) => option(value, value)))));
    };
    const bases = chapters.flatMap(({ data }) => data.rows.map(({ base }) => base));
    select("base", "Base", distinct(bases.filter(Boolean)), 1);
    select("suite", "Suite", distinct(chapters.map(({ data }) => data.suite)));
    select("protocol", "Protocol", distinct(chapters.map(({ data }) => data.protocol)));
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
    figures.drawings.forEach((drawing) => drawing.choosing());
    figures.watch();
    globalThis.benchReport = { chapters, drawings: figures.drawings };
  }

  start();
})();
