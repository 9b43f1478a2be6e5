"use strict";
// A table with sorting, filters, records on click, and averages over a subset of the shifts.

const tables = (() => {
  const { DASH, averaged, between, deviation, element, mean, ranksText, text } = shared;
  const SCALED = / w\/ [A-Z]{2}$/; // how a column is calibrated, at the end of its label

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
      this.addButtons();
      this.caption = table.caption.firstChild;
      this.caption.written = this.caption.data;
      if (this.lines.length > 14) table.parentElement.classList.add("tall");
    }

    sortable(head, index) {
      const button = element("button", { type: "button", class: "sort",
        onclick: () => this.sort(index) }, head.textContent);
      head.replaceChildren(button);
    }

    // Stores the original contents of the cells, to restore them later.
    remember() {
      this.written = new Map();
      for (const tr of this.lines) {
        this.written.set(tr, [...tr.cells].map((cell) => ({
          text: cell.querySelector("strong, .tied")?.textContent ?? cell.firstChild?.textContent.trim() ?? "",
          sign: cell.querySelector(".sign")?.textContent ?? "",
          small: cell.querySelector("small")?.textContent ?? "",
          strong: cell.querySelector("strong") !== null,
          tied: cell.querySelector(".tied") !== null,
        })));
      }
    }

    fill(cell, { text: shown, sign = "", small, strong, tied, wide = false }) {
      const bold = strong ? element("strong", {}, shown) : shown;
      const main = tied ? element("span", { class: "tied" }, bold) : bold;
      const holder = cell.querySelector("button") ?? cell;
      const note = small ? [" ", element("small", wide ? { class: "interval" } : {}, small)] : [];
      holder.replaceChildren(main, ...(sign ? [element("span", { class: "sign" }, sign)] : []));
      [...cell.childNodes].filter((node) => node !== holder && holder !== cell).forEach((n) => n.remove());
      cell.append(...note);
    }

    // Each number opens its records; arrow keys move between cells.
    addButtons() {
      this.lines.filter((tr) => this.rowsOf(tr)).forEach((tr, r) => {
        [...tr.cells].slice(1).forEach((cell, c) => {
          const button = element("button", { type: "button", tabindex: r || c ? "-1" : "0",
            onclick: () => this.show(tr, c) });
          const small = cell.querySelector("small");
          button.append(...[...cell.childNodes].filter((node) => node !== small));
          button.normalize();
          if (button.lastChild?.nodeType === Node.TEXT_NODE) button.lastChild.data = button.lastChild.data.trimEnd();
          cell.replaceChildren(button, ...(small ? [" ", small] : []));
        });
      });
      this.table.addEventListener("keydown", (event) => this.move(event));
    }

    // The row, or both rows of a difference; null for other lines.
    rowsOf(tr) {
      const { rows, pairs } = this.chapter, key = tr.dataset.row;
      return rows.has(key) ? [rows.get(key)] : pairs.get(key)?.of.map((of) => rows.get(of)) ?? null;
    }

    show(tr, column) {
      const { chapter } = this, rows = this.rowsOf(tr), zero = chapter.rows.get("zero-shot");
      const cell = { ...this.cell(tr.dataset.row, column), reason: tr.cells[column + 1].title };
      if (rows.length === 2) records.showDifference(chapter, rows, cell);
      else if (this.name !== "standings" || ![2, 3].includes(column) || !zero || rows[0] === zero) {
        records.showRow(chapter, tr.dataset.row, cell);
      } else {
        const found = chapter.found;
        const interval = found ? found.rows[rows[0].index].difference?.interval : chapter.data.minus_zero_shot[rows[0].key];
        records.showDifference(chapter, [rows[0], zero], { ...cell, interval });
      }
    }

    // The content of a column (from 0, without the name): sets, measure, interval and p-values.
    cell(key, column) {
      if (this.name.startsWith("calibration")) return this.calibrationCell(key, column);
      const { chapter } = this, { data, found } = chapter, row = chapter.rows.get(key);
      const last = data.places.length - (data.mean ? 0 : 1);
      const at = this.name === "standings" ? last : Math.min(column, last);
      const place = at < last ? { places: [at], label: data.labels[at] } : chapter.last(data.over, data.mean);
      const measure = { ...data.cell, scale: data.scale, title: data.title };
      if (found && place.mean) {
        return { ...place, measure, interval: (row ? found.rows[row.index] : found.pairs.get(key))?.interval };
      }
      return { ...place, measure, interval: data.intervals[key]?.[at], p: chapter.pairs.get(key)?.p[at] };
    }

    calibrationCell(key, column) {
      const { chapter } = this, { data } = chapter;
      const { scale, cell, scaled, intervals, over, mean: label } = data.calibration[this.name.split(" ")[1]];
      const id = { places: [0], label: data.labels[0] }, width = data.places.length > 1 ? 2 : 1;
      if (this.heads[column + 1].dataset.label === "T") return { ...id, scaled: true };
      const place = column % width ? chapter.last(over, label) : id;
      const how = this.heads[column + 1].dataset.label.match(SCALED)?.[0] ?? "", isScaled = how !== "";
      const title = scale.title + how;
      return {
        ...place, scaled: isScaled, measure: { ...(isScaled ? scaled : cell), scale, title },
        interval: isScaled || (place.mean && chapter.subset) ? null : intervals[key]?.[column % width],
      };
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

    hide(index, on) {
      for (const tr of this.table.rows) if (tr.cells.length > 1 && tr.cells[index]) tr.cells[index].hidden = on;
    }

    // Sort directions of the first two clicks: names from A, numbers from the best. A third click
    // restores the original order.
    first(index) {
      const { data } = this.chapter, { label } = this.heads[index].dataset;
      const scale = data.calibration[this.name.split(" ")[1]]?.scale ?? data.scale;
      const descends = index > 0 && label !== "Rank" && scale.higher_is_better;
      return descends ? ["descending", "ascending"] : ["ascending", "descending"];
    }

    // Unranked rows stay in groups of their own.
    sort(index) {
      const [first, second] = this.first(index);
      const direction = this.sorted?.index !== index ? first : this.sorted.direction === first ? second : null;
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
        if (index === 0) return sign * x.localeCompare(y);
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

    // Sets a row's name, with its base if rows are not grouped by base.
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

    // Updates the caption to the mean that is shown.
    recaption(found) {
      const { written } = this.caption, { mean: label } = this.chapter.data;
      this.caption.data = found ? written.replace(label, found.label) : written;
      this.table.parentElement.setAttribute("aria-label", this.caption.data.trim());
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

    // The best printed value among ranked rows.
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
      const [a, b] = this.rowsOf(tr).map((row) => {
        const values = averaged(data.cell.values[row.index], found.over);
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
      this.recaption(found);
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

    // Sorts rows by mean; group headers and difference rows keep their positions.
    byMean(rows, found, scale) {
      const value = (tr) => found.rows[this.chapter.rows.get(tr.dataset.row).index].mean ?? -Infinity;
      const sign = scale.higher_is_better ? -1 : 1;
      const known = rows.filter((tr) => this.chapter.rows.has(tr.dataset.row));
      const ordered = [...known].sort((a, b) => sign * (value(a) - value(b)));
      return rows.map((tr) => (known.includes(tr) ? ordered.shift() : tr));
    }

    renderCalibration(found) {
      const { data, intervals } = this.chapter;
      const { scale, cell, scaled, intervals: bounds } = data.calibration[this.name.split(" ")[1]];
      const sure = (tr, end, shown) => {
        const interval = intervals && bounds[tr.dataset.row]?.[end];
        return interval ? { ...shown, wide: true, small: `[${between(scale, interval)}]` } : shown;
      };
      const at = (which) => this.heads.findIndex(({ dataset }) => dataset.label.startsWith(which) && !SCALED.test(dataset.label));
      const id = at(data.labels[0]);
      for (const tr of this.lines) this.fill(tr.cells[id], sure(tr, 0, this.written.get(tr)[id]));
      if (!data.mean) return;
      this.heads.forEach(({ dataset: { label } }, at) => {
        if (!label.startsWith(data.mean)) return;
        const isScaled = SCALED.test(label);
        this.relabel(at, label.replace(data.mean, found?.label ?? data.mean));
        const rows = data.rows.map((row, r) => {
          const bySeed = averaged((isScaled ? scaled : cell).values[r], this.chapter.over);
          return { row: this.chapter.rows.get(row.key), mean: bySeed && mean(bySeed), std: bySeed && deviation(bySeed) };
        });
        const live = found && { ...found, rows, ranks: new Map() };
        // Rows that are calibrated by themselves, which have a sign here, are not compared with others.
        const unlike = new Set(this.lines.filter((tr) => this.written.get(tr)[at].sign).map((tr) => tr.dataset.row));
        const alike = rows.filter(({ row }) => !unlike.has(row.key));
        const best = live && this.best(scale, alike);
        for (const tr of this.lines) {
          const row = this.chapter.rows.get(tr.dataset.row), written = this.written.get(tr)[at];
          const own = live && this.live({ ...data, scale }, live, row, best);
          this.fill(tr.cells[at], live ? { ...own, strong: own.strong && !written.sign, sign: written.sign }
            : isScaled ? written : sure(tr, 1, written));
        }
      });
    }

    // Shows the rows that match, and hides the table if none does.
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
      this.table.parentElement.hidden = this.lines.every((tr) => tr.classList.contains("filtered"));
    }
  }

  return { Table };
})();
