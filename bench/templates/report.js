"use strict";
// What the page can do beyond being read: sort, filter, hide, open records, and repeat averages,
// intervals and ranks on any of the shifts. Names from records are only ever set as text.

(() => {
  const DASH = "–";
  const parse = (name) =>
    [...document.querySelectorAll(`script.${name}`)].map((s) => () => JSON.parse(s.textContent));
  const later = (make) => { let made; return () => (made ??= { value: make() }).value; };

  // -- values ------------------------------------------------------------------------------------

  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

  function deviation(values) {
    if (values.length < 2) return null;
    const middle = mean(values);
    return Math.sqrt(values.reduce((a, b) => a + (b - middle) ** 2, 0) / (values.length - 1));
  }

  // A value as Python prints it: halves to even, no negative zero.
  function text({ factor, decimals }, value, signed = false) {
    const x = value * factor;
    let shown = x.toFixed(decimals);
    if (Math.abs(x * 2 ** (decimals + 1)) % 2 === 1) {
      const low = Math.floor(x * 10 ** decimals);
      shown = ((low % 2 === 0 ? low : low + 1) / 10 ** decimals).toFixed(decimals);
    }
    if (Number(shown) === 0) shown = shown.replace("-", "");
    return signed && !shown.startsWith("-") ? `+${shown}` : shown;
  }

  const between = (scale, bounds, signed = false) =>
    bounds ? bounds.map((bound) => text(scale, bound, signed)).join(" to ") : DASH;

  const ranksText = ([first, last]) => (first === last ? `${first}` : `${first} to ${last}`);

  // The mean over places, per seed; null if a seed lacks any.
  function averaged(places, over) {
    const bySeed = places[0].map((_, s) => over.map((place) => places[place][s]));
    return bySeed.flat().some((v) => v === null) ? null : bySeed.map(mean);
  }

  // -- elements ----------------------------------------------------------------------------------

  function element(tag, attributes = {}, ...children) {
    const made = document.createElement(tag);
    for (const [name, value] of Object.entries(attributes)) {
      if (name.startsWith("on")) made.addEventListener(name.slice(2), value);
      else if (value === true) made.setAttribute(name, "");
      else if (value !== false && value !== null) made.setAttribute(name, value);
    }
    made.append(...children);
    return made;
  }

  const option = (value, label) => element("option", { value }, label);
  const box = (label, checked, change) => element("label", {},
    element("input", { type: "checkbox", checked, onchange: (e) => change(e.target.checked) }),
    label);

  // -- one chapter -------------------------------------------------------------------------------

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
      this.tables = [...section.querySelectorAll('table[data-table]:not([data-table="choices"])')].map(
        (table) => new Table(this, table));
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
      drawings.filter(({ chapter }) => chapter === this).forEach((drawing) => drawing.over(found && this.over));
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

  // -- one table ---------------------------------------------------------------------------------

  class Table {
    constructor(chapter, table) {
      [this.chapter, this.table, this.name] = [chapter, table, table.dataset.table];
      this.heads = [...table.tHead.rows[0].cells];
      this.heads.forEach((head) => { head.dataset.label = head.textContent; });
      this.bodies = [...table.tBodies].map((body) => [body, [...body.rows]]);
      this.lines = this.bodies.flatMap(([, rows]) => rows).filter((tr) => tr.dataset.row);
      this.sorted = null;
      this.heads.forEach((head, i) => this.sortable(head, i));
      this.remember();
      if (this.name !== "standings") this.opening();
      if (this.lines.length > 14) table.parentElement.classList.add("tall");
    }

    sortable(head, index) {
      const button = element("button", { type: "button", class: "sort",
        onclick: () => this.sort(index) }, head.textContent);
      head.replaceChildren(button);
    }

    // What the cells say as the page was written, to come back to.
    remember() {
      this.written = new Map();
      for (const tr of this.lines) {
        this.written.set(tr, [...tr.cells].map((cell) => ({
          text: cell.querySelector("strong, .tied")?.textContent ?? cell.firstChild?.textContent.trim() ?? "",
          small: cell.querySelector("small")?.textContent ?? "",
          strong: cell.querySelector("strong") !== null,
          tied: cell.querySelector(".tied") !== null,
        })));
      }
    }

    fill(cell, { text: shown, small, strong, tied, wide = false }) {
      const bold = strong ? element("strong", {}, shown) : shown;
      const main = tied ? element("span", { class: "tied" }, bold) : bold;
      const holder = cell.querySelector("button") ?? cell;
      const note = small ? [" ", element("small", wide ? { class: "interval" } : {}, small)] : [];
      holder.replaceChildren(main);
      [...cell.childNodes].filter((node) => node !== holder && holder !== cell).forEach((n) => n.remove());
      cell.append(...note);
    }

    // Every number opens what made it; arrows go from cell to cell.
    opening() {
      this.lines.filter((tr) => this.chapter.rows.has(tr.dataset.row)).forEach((tr, r) => {
        [...tr.cells].slice(1).forEach((cell, c) => {
          const button = element("button", { type: "button", tabindex: r || c ? "-1" : "0",
            onclick: () => showRecord(this.chapter, tr.dataset.row, this.place(c), cell.title) });
          const small = cell.querySelector("small");
          button.append(...[...cell.childNodes].filter((node) => node !== small));
          button.normalize();
          if (button.lastChild?.nodeType === Node.TEXT_NODE) button.lastChild.data = button.lastChild.data.trimEnd();
          cell.replaceChildren(button, ...(small ? [" ", small] : []));
        });
      });
      this.table.addEventListener("keydown", (event) => this.move(event));
    }

    move(event) {
      const cell = event.target.closest("td");
      const step = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] }[event.key];
      if (!cell || !step) return;
      const rows = [...this.table.querySelectorAll("tbody tr")].filter((tr) => !tr.hidden && tr.querySelector("td button"));
      const row = rows[rows.indexOf(cell.parentElement) + step[0]];
      const next = row?.cells[cell.cellIndex + step[1]]?.querySelector("button");
      if (!next) return;
      event.preventDefault();
      event.target.tabIndex = -1;
      next.tabIndex = 0;
      next.focus();
    }

    // The evaluation set of a column (from 0, without the name); null for means.
    place(column) {
      if (this.name === "leaderboard") return this.chapter.data.places[column] ?? null;
      return column % 2 === 0 && column < 4 ? "id" : null;
    }

    hide(index, on) {
      for (const tr of this.table.rows) if (tr.cells.length > 1 && tr.cells[index]) tr.cells[index].hidden = on;
    }

    // First down, then up, then as written. What is not ranked stays apart.
    sort(index) {
      const direction = this.sorted?.index !== index ? "descending"
        : this.sorted.direction === "descending" ? "ascending" : null;
      this.sorted = direction && { index, direction };
      this.heads.forEach((head, i) => {
        if (direction && i === index) head.setAttribute("aria-sort", direction);
        else head.removeAttribute("aria-sort");
      });
      this.arrange();
    }

    arrange() {
      for (const body of [...this.table.tBodies]) body.remove();
      for (const tr of this.lines) this.title(tr, this.sorted !== null);
      if (!this.sorted) {
        for (const [body, rows] of this.bodies) { body.replaceChildren(...rows); this.table.append(body); }
        return;
      }
      const { index, direction } = this.sorted;
      const sign = direction === "descending" ? -1 : 1;
      const value = (tr) => {
        const shown = tr.cells[index].textContent;
        return index === 0 ? shown : Number.parseFloat(shown.replace("+", ""));
      };
      const compare = (a, b) => {
        const [x, y] = [value(a), value(b)];
        if (index === 0) return -sign * x.localeCompare(y);
        return Number.isNaN(x) - Number.isNaN(y) || sign * (x - y) || 0;
      };
      const kind = (tr) => {
        const row = this.chapter.rows.get(tr.dataset.row);
        return !row ? 2 : row.role === "method" && row.complete ? 0 : 1;
      };
      for (const wanted of [0, 1, 2]) {
        const rows = this.lines.filter((tr) => kind(tr) === wanted).sort(compare);
        if (!rows.length) continue;
        const body = element("tbody");
        if (wanted === 1) {
          body.append(element("tr", { class: "head" },
            element("th", { scope: "rowgroup", colspan: this.heads.length }, "not ranked")));
        }
        body.append(...rows);
        this.table.append(body);
      }
    }

    // A row's name: with its base where its group is not in sight.
    title(tr, full) {
      const row = this.chapter.rows.get(tr.dataset.row), head = tr.cells[0];
      if (!row || this.name === "standings") return;
      tr.dataset.name ??= head.textContent;
      tr.dataset.kind ??= tr.className;
      head.textContent = full ? row.name : tr.dataset.name;
      tr.className = full ? "row" : tr.dataset.kind;
    }

    render(found) {
      if (this.name === "leaderboard") this.renderBoard(found);
      else if (this.name === "standings") this.renderStandings(found);
      else this.renderCalibration(found);
      if (this.sorted) this.arrange();
    }

    relabel(index, label) {
      this.heads[index].querySelector("button.sort").textContent = label;
    }

    renderBoard(found) {
      const { data, intervals } = this.chapter;
      const last = data.places.length + 1;
      if (data.mean) this.relabel(last, found?.label ?? data.mean);
      const best = found && this.best(data.scale, found.rows);
      for (const tr of this.lines) {
        const bounds = intervals ? data.intervals[tr.dataset.row] : null;
        const row = this.chapter.rows.get(tr.dataset.row);
        this.written.get(tr).forEach((written, c) => {
          if (c === 0) return;
          let shown = written, interval = bounds?.[c - 1];
          if (data.mean && c === last && found) {
            shown = row ? this.live(data, found, row, best) : this.liveDifference(data, found, tr);
            interval = row ? found.rows[row.index].interval : found.pairs.get(tr.dataset.row)?.interval;
          }
          if (bounds && interval) {
            shown = { ...shown, wide: true, small: `[${between(data.scale, interval, !row)}]` };
          }
          this.fill(tr.cells[c], shown);
        });
      }
    }

    // The best printed value among rows that may be ranked.
    best(scale, rows) {
      const values = rows.filter((one) => one.row.ranked && one.mean !== null).map((one) => one.mean);
      if (!values.length) return null;
      return text(scale, (scale.higher_is_better ? Math.max : Math.min)(...values));
    }

    live(data, found, row, best) {
      const one = found.rows[row.index];
      if (one.mean === null) return { text: DASH, small: "" };
      const shown = text(data.scale, one.mean);
      return {
        text: shown,
        small: one.std === null ? (row.seeds[0] === null && data.rows.some((r) => r.seeds.length > 1) ? `± ${DASH}` : "") : `± ${text(data.scale, one.std)}`,
        strong: row.ranked && shown === best,
        tied: found.ranks.get(row.index)?.[0] === 1,
      };
    }

    liveDifference(data, found, tr) {
      const pair = data.pairs.find(({ key }) => key === tr.dataset.row);
      const rows = pair.of.map((m) => this.chapter.rows.get(pair.base === null ? m : `${m}:${pair.base}`));
      const [a, b] = rows.map((row) => {
        const values = averaged(data.values[row.index], found.over);
        return values && new Map(row.seeds.map((seed, s) => [seed, values[s]]));
      });
      const same = a && b ? [...a.keys()].filter((seed) => b.has(seed)) : [];
      if (!same.length) return { text: DASH, small: "" };
      const values = same.map((seed) => a.get(seed) - b.get(seed)), std = deviation(values);
      return { text: text(data.scale, mean(values), true),
        small: std === null ? "" : `± ${text(data.scale, std)}` };
    }

    renderStandings(found) {
      const { data } = this.chapter, { scale } = data;
      this.relabel(1, found?.label ?? data.mean ?? this.heads[1].dataset.label);
      for (const tr of this.lines) {
        const row = this.chapter.rows.get(tr.dataset.row);
        const one = row && found?.rows[row.index], pair = row ? one?.difference : found?.pairs.get(tr.dataset.row);
        const rank = row && found?.ranks.get(row.index);
        const texts = found && [
          one && one.mean !== null ? text(scale, one.mean) : DASH,
          between(scale, one?.interval),
          pair ? text(scale, pair.value, true) : DASH,
          between(scale, pair?.interval, true),
          rank ? ranksText(rank) : DASH,
        ];
        const swapped = texts && !row ? [texts[2], texts[3], DASH, DASH, DASH] : texts;
        this.written.get(tr).forEach((written, c) => {
          if (c === 0) return;
          this.fill(tr.cells[c], swapped
            ? { text: swapped[c - 1], strong: c === 5 && rank?.[0] === 1 } : written);
        });
      }
      if (this.sorted) return;
      for (const [body, rows] of this.bodies) {
        const ordered = found ? this.byMean(rows, found, scale) : rows;
        body.replaceChildren(...ordered);
      }
    }

    byMean(rows, found, scale) {
      const value = (tr) => {
        const row = this.chapter.rows.get(tr.dataset.row);
        return row ? found.rows[row.index].mean ?? -Infinity : null;
      };
      const sign = scale.higher_is_better ? -1 : 1;
      return [...rows].sort((a, b) => (value(a) === null || value(b) === null ? 0 : sign * (value(a) - value(b))));
    }

    renderCalibration(found) {
      const { data } = this.chapter;
      const { scale, cell, scaled } = data.calibration[this.name.split(" ")[1]];
      if (!data.mean) return;
      const kinds = [cell, ...(this.heads.length > 4 ? [scaled] : [])];
      kinds.forEach((values, k) => {
        const at = 2 + 2 * k;
        this.relabel(at, (found?.label ?? data.mean) + (k ? " w/ TS" : ""));
        const rows = data.rows.map((row, r) => {
          const bySeed = averaged(values[r], this.chapter.over);
          return { row, mean: bySeed && mean(bySeed), std: bySeed && deviation(bySeed) };
        });
        const live = found && { ...found, rows, ranks: new Map() };
        const best = live && this.best(scale, rows);
        for (const tr of this.lines) {
          const row = this.chapter.rows.get(tr.dataset.row);
          this.fill(tr.cells[at], live ? this.live({ ...data, scale }, live, row, best) : this.written.get(tr)[at]);
        }
      });
    }

    filter(matches) {
      for (const tr of this.lines) {
        const row = this.chapter.rows.get(tr.dataset.row);
        tr.classList.toggle("filtered", !matches(row ?? { name: tr.cells[0].textContent, base: tr.dataset.row.split(":")[1] ?? null }));
      }
      for (const body of this.table.tBodies) {
        for (const head of body.querySelectorAll("tr.head")) {
          head.classList.toggle("filtered", [...body.rows].every((tr) => tr === head || tr.classList.contains("filtered")));
        }
      }
    }
  }

  // -- records -----------------------------------------------------------------------------------

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

  // -- figures -----------------------------------------------------------------------------------

  const drawings = [];
  const THEME = {
    background: "transparent",
    font: "system-ui, Liberation Sans, sans-serif",
    title: { color: "var(--text)" },
    view: { stroke: "transparent" },
    axis: { labelColor: "var(--quiet)", titleColor: "var(--quiet)", titleFontWeight: "normal",
      gridColor: "var(--rule)", domainColor: "var(--strong-rule)", tickColor: "var(--strong-rule)" },
    legend: { labelColor: "var(--text)", titleColor: "var(--text)", symbolType: "circle", symbolStrokeWidth: 0 },
    header: { labelColor: "var(--text)", titleColor: "var(--text)" },
  };

  const tip = element("div", { id: "tip", role: "status", hidden: true });

  // What a mark stands for, beside it and inside the window.
  function tooltip(handler, event, item, value) {
    tip.hidden = !value;
    if (!value) return;
    tip.replaceChildren(...Object.entries(value).map(([name, said]) =>
      element("div", {}, element("span", {}, name), ` ${said}`)));
    const { width, height } = tip.getBoundingClientRect();
    const x = Math.min(event.clientX + 12, document.documentElement.clientWidth - width - 4);
    const above = event.clientY + 14 + height > innerHeight;
    tip.style.left = `${Math.max(4, x)}px`;
    tip.style.top = `${above ? event.clientY - height - 10 : event.clientY + 14}px`;
  }

  class Drawing {
    constructor(chapter, figure, spec) {
      [this.chapter, this.figure, this.spec] = [chapter, figure, spec];
      this.holder = figure.querySelector(".drawing");
      this.drawn = false;
    }

    draw() {
      if (this.drawn) return;
      this.drawn = true;
      if (this.spec.columns) { // panels in pairs, as many as there is room for
        const side = this.spec.spec.width + 60;
        this.spec = { ...this.spec, columns: 2 * Math.max(1, Math.floor(this.holder.clientWidth / (2 * side))) };
      }
      const legend = { ...THEME.legend, columns: this.holder.clientWidth < 420 ? 1 : 2, labelLimit: 240 };
      const options = { actions: false, renderer: "svg", config: { ...THEME, legend }, tooltip };
      vegaEmbed(this.holder, this.spec, options).catch((error) => {
        this.holder.replaceChildren(element("p", { class: "reason" }, `Not drawn: ${error.message}`));
      });
    }

    // The same on some of the shifts (all of them, if null): of the scatter plot the means of the
    // points' own values on each, of reliability diagrams the samples'.
    over(places) {
      const make = { "id-ood": rescaled, reliability: rebinned }[this.figure.dataset.figure];
      if (!make) return;
      this.full ??= this.spec;
      this.places = places;
      const same = !places && !(this.bins && this.bins !== BINS);
      this.spec = same ? this.full : make(this.full, this.chapter, places ?? this.chapter.data.over, this.bins ?? BINS);
      this.drawn = false;
      this.draw();
    }

    // Other bins than the report's, where the page has confidences.
    choosing() {
      if (this.figure.dataset.figure !== "reliability" || !this.chapter.confidences()) return;
      const select = element("select", { onchange: (e) => { this.bins = Number(e.target.value); this.over(this.places ?? null); } },
        ...[5, 10, BINS, 20, 30].map((n) => option(n, n)));
      select.value = String(BINS);
      this.holder.before(element("label", { class: "bins" }, "Bins ", select));
    }
  }

  const BINS = 15;

  function rebinned(full, chapter, places, bins) {
    const held = chapter.confidences(), samples = chapter.samples(), columns = chapter.columns();
    if (!held) return full;
    const spec = structuredClone(full), { data } = chapter;
    const label = places.length < data.over.length ? `mean of ${places.length}` : data.mean;
    const ends = [[data.labels[0], columns[0]]];
    if (data.mean) ends.push([label, places.flatMap((place) => columns[place])]);
    const known = new Set(full.data.values.map(({ row }) => row));
    const panels = [];
    spec.data.values = data.rows.flatMap((row, r) => ends.flatMap(([on, sets]) => {
      if (!known.has(row.name) || !samples.has(r, sets)) return [];
      const panel = `${row.name}: ${on}`;
      panels.push(panel);
      const parts = sets.flatMap((set) => samples.bits[r][set].map((text, s) => ({
        bits: stats.unpacked(text, samples.sets[set].n),
        levels: stats.levels(held.levels[r][set][s], held.steps),
        share: 1 / samples.sets[set].n / samples.bits[r][set].length / sets.length,
      })));
      return stats.reliability(parts, held.steps, bins).filter(({ n }) => n > 0).map((bin) => {
        const [confidence, accuracy] = [bin.confidence / bin.n, bin.right / bin.n];
        return { row: row.name, on, panel, share: bin.n, confidence, accuracy,
          Confidence: confidence.toFixed(3), Accuracy: accuracy.toFixed(3),
          "Share of samples": `${(100 * bin.n).toFixed(1)}%` };
      });
    }));
    spec.facet.sort = panels;
    return spec;
  }

  const logit = (p) => { const q = Math.min(Math.max(p, 0.0005), 0.9995); return Math.log(q / (1 - q)); };
  function percentTicks(low, high) {
    const [first, last] = [low, high].map((x) => 100 / (1 + Math.exp(-x)));
    const step = [0.1, 0.2, 0.5, 1, 2, 5, 10, 20].find((s) => (last - first) / s <= 7) ?? 20;
    const ticks = [];
    for (let i = Math.ceil(first / step); i * step <= last; i++) ticks.push(i * step / 100);
    return ticks.filter((t) => t > 0 && t < 1);
  }

  function rescaled(full, chapter, places) {
    const spec = structuredClone(full), label = `mean of ${places.length}`;
    const positions = places.map((place) => chapter.data.over.indexOf(place));
    const ys = [];
    spec.layer = spec.layer.filter((layer) => layer.data.values.every((v) => v.shifts));
    for (const layer of spec.layer) {
      for (const value of layer.data.values) {
        value.ood = mean(positions.map((p) => value.shifts[p]));
        value.y = logit(value.ood);
        value[chapter.data.mean] = text(chapter.data.scale, value.ood);
        ys.push(value.y);
      }
    }
    const [low, high] = [Math.min(...ys) - 0.1, Math.max(...ys) + 0.1];
    const ticks = percentTicks(low, high).map(logit);
    for (const { encoding } of spec.layer) {
      encoding.y.scale.domain = [low, high];
      encoding.y.axis.values = ticks;
      encoding.y.title = encoding.y.title.replace(chapter.data.mean, label);
    }
    return spec;
  }

  function watch() {
    const observer = new IntersectionObserver((entries) => entries.forEach((entry) => {
      if (!entry.isIntersecting) return;
      drawings.find(({ figure }) => figure === entry.target).draw();
      observer.unobserve(entry.target);
    }), { rootMargin: "300px" });
    drawings.forEach(({ figure }) => observer.observe(figure));
    const rest = () => {
      const next = drawings.find(({ drawn }) => !drawn);
      if (next) { next.draw(); idle(rest); }
    };
    const idle = globalThis.requestIdleCallback ?? ((call) => setTimeout(call, 200));
    idle(rest);
    addEventListener("beforeprint", () => drawings.forEach((drawing) => drawing.draw()));
  }

  // -- filters of the whole page -----------------------------------------------------------------

  function filters(chapters) {
    const bar = document.getElementById("filters");
    const distinct = (values) => [...new Set(values)];
    const state = { method: "", base: "", suite: "", protocol: "" };
    const apply = () => {
      const words = state.method.toLowerCase().split(/\s+/).filter(Boolean);
      for (const chapter of chapters) {
        const { suite, protocol } = chapter.data;
        chapter.section.hidden = Boolean((state.suite && state.suite !== suite) || (state.protocol && state.protocol !== protocol));
        chapter.tables.forEach((table) => table.filter((row) =>
          words.every((word) => row.name.toLowerCase().includes(word)) &&
          (!state.base || row.base === state.base || row.key === state.base)));
      }
    };
    const input = element("input", { type: "search", placeholder: "method", "aria-label": "Filter by method",
      oninput: (e) => { state.method = e.target.value; apply(); } });
    bar.append(element("label", {}, "Filter ", input));
    const select = (name, label, values) => {
      if (values.length < 2) return;
      bar.append(element("label", {}, `${label} `, element("select", { name,
        onchange: (e) => { state[name] = e.target.value; apply(); } },
      option("", "all"), ...values.map((value) => option(value, value)))));
    };
    const bases = distinct(chapters.flatMap(({ data }) => data.rows.map(({ base }) => base)).filter(Boolean));
    if (bases.length) select("base", "Base", ["", ...bases].slice(bases.length > 1 ? 1 : 0));
    select("suite", "Suite", distinct(chapters.map(({ data }) => data.suite)));
    select("protocol", "Protocol", distinct(chapters.map(({ data }) => data.protocol)));
    bar.hidden = false;
  }

  function start() {
    const [samples, levels] = [parse("samples"), parse("levels")];
    const sections = [...document.querySelectorAll("section.chapter")];
    const chapters = parse("data").map((data, i) => 
      new Chapter(sections[i], data(), later(samples[i]), later(levels[i])));
    document.body.append(dialog, tip);
    filters(chapters);
    for (const chapter of chapters) {
      for (const figure of chapter.section.querySelectorAll("figure[data-figure]")) {
        const spec = chapter.data.charts[figure.dataset.figure];
        if (spec) drawings.push(new Drawing(chapter, figure, spec));
      }
    }
    drawings.forEach((drawing) => drawing.choosing());
    watch();
    globalThis.benchReport = { chapters, drawings, text };
  }

  start();
})();
