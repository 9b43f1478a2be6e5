"use strict";
// Renders the report's Vega-Lite specifications, and updates them for a subset of rows or shifts.

const figures = (() => {
  const { between, box, element, mean, option, text } = shared;

  const drawings = [];
  const THEME = {
    background: "transparent",
    font: "system-ui, Liberation Sans, sans-serif",
    title: { color: "var(--text)" },
    view: { stroke: "transparent" },
    axis: { labelColor: "var(--quiet)", titleColor: "var(--quiet)", titleFontWeight: "normal",
      gridColor: "var(--rule)", domainColor: "var(--strong-rule)", tickColor: "var(--strong-rule)" },
    legend: { labelColor: "var(--text)", titleColor: "var(--text)", symbolBaseFillColor: "var(--quiet)",
      layout: { bottom: { anchor: "start", direction: "vertical", margin: 6 } } },
    header: { labelColor: "var(--text)", titleColor: "var(--text)" },
  };

  const tip = element("div", { id: "tip", role: "status", hidden: true });

  // The tooltip next to a mark, kept inside the window.
  function tooltip(handler, event, item, value) {
    tip.hidden = !value;
    if (!value) return;
    tip.replaceChildren(...Object.entries(value).map(([name, shown]) =>
      element("div", {}, element("span", {}, name), ` ${shown}`)));
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
      this.asked = new Set();
    }

    draw() {
      if (this.drawn) return;
      this.drawn = true;
      if (this.spec.columns) { // an even number of panels per line, as many as fit
        const side = this.spec.spec.width + 60;
        this.spec = { ...this.spec, columns: 2 * Math.max(1, Math.floor(this.holder.clientWidth / (2 * side))) };
      }
      this.shown = this.names;
      const spec = this.names ? only(this.spec, this.names) : this.spec;
      this.figure.hidden = spec === null;
      if (!spec) return;
      const options = { actions: false, renderer: "svg", config: { ...THEME, legend: this.legend(spec) }, tooltip };
      this.view = vegaEmbed(this.holder, spec, options).then(({ view }) => view).catch((error) => {
        this.holder.replaceChildren(element("p", { class: "reason" }, `This figure cannot be rendered: ${error.message}`));
      });
    }

    // A legend with as many columns as fit.
    legend(spec) {
      const names = units(spec).flatMap(({ encoding = {} }) => [encoding.color, encoding.shape])
        .flatMap((channel) => channel?.scale?.domain ?? []);
      const room = this.holder.clientWidth - 40;
      const wanted = Math.max(...names.map((name) => name.length * 5.5), 1) + 30;
      const columns = Math.max(1, Math.floor(room / wanted));
      return { ...THEME.legend, columns, labelLimit: room / columns - 20 };
    }

    // Shows the rows with these names; all rows if null.
    of(names) {
      this.names = names;
      if (!this.drawn || this.chapter.section.hidden || String(names) === String(this.shown)) return;
      this.figure.hidden = this.drawn = false; // a hidden element has no width
      this.draw();
    }

    // Shows the figure for some of the shifts (all of them if null). The scatter plot averages the
    // values of its points per shift; reliability diagrams and differences use the samples.
    over(places) {
      const make = { "id-ood": rescaled, reliability: rebinned, differences: paired }[this.figure.dataset.figure];
      if (!make) return;
      this.full ??= this.spec;
      this.places = places;
      const settings = { places: places ?? this.chapter.data.over, bins: this.bins ?? BINS, asked: this.asked };
      const same = !places && settings.bins === BINS && !this.asked.size;
      this.spec = same ? this.full : make(this.full, this.chapter, settings);
      if (places) this.spec.description = this.full.description.replaceAll(this.chapter.data.mean, `mean of ${places.length}`);
      this.drawn = false;
      this.draw();
    }

    // Adds inputs: the number of bins if the page has confidences, and what is drawn on request.
    addInputs() {
      const name = this.figure.dataset.figure;
      if (units(this.spec).some(({ params }) => params)) {
        this.figure.querySelector("figcaption").append(" Click a method in the legend to highlight it.");
      }
      const more = (this.spec.usermeta?.on_request ?? []).map((one) => one.name);
      for (const [label, ...names] of [["Baselines", "baselines", "line"], ["Ablations and oracles", "aside"],
        ["Curves measured elsewhere", "elsewhere"]]) {
        if (!more.includes(names[0])) continue;
        this.holder.before(box(label, false, (on) => {
          names.forEach((one) => this.asked[on ? "add" : "delete"](one));
          this.over(this.places ?? null);
        }), " ");
      }
      if (name !== "reliability" || !this.chapter.confidences()) return;
      const select = element("select", { onchange: (e) => { this.bins = Number(e.target.value); this.over(this.places ?? null); } },
        ...[5, 10, BINS, 20, 30].map((n) => option(n, n)));
      select.value = String(BINS);
      this.holder.before(element("label", { class: "bins" }, "Bins ", select));
    }
  }

  // The parts of a specification that can have a mark.
  const units = (spec) => [spec, ...(spec.layer ?? []).flatMap(units), ...(spec.spec ? units(spec.spec) : [])];

  // A specification with only the values of the named rows; null if no row remains.
  function only(full, list) {
    const names = new Set(list), spec = structuredClone(full), methods = new Set(), bases = new Set();
    let rows = spec.usermeta?.row ? Number(names.has(spec.usermeta.row)) : null, before = 0;
    for (const [name, values] of Object.entries(spec.datasets)) {
      if (!values.some((value) => value.kind)) continue;
      const kept = spec.datasets[name] = values.filter((value) => !value.kind || names.has(value.row));
      before += values.length;
      rows += kept.length;
      kept.forEach((value) => { methods.add(value.method); bases.add(value.base); });
    }
    for (const { encoding = {} } of units(spec)) {
      for (const [channel, kept] of [["color", methods], ["stroke", methods], ["shape", bases]]) {
        const scale = encoding[channel]?.scale;
        if (!scale?.domain) continue;
        const places = scale.domain.flatMap((name, i) => (kept.has(name) ? [i] : []));
        [scale.domain, scale.range] = [scale.domain, scale.range].map((all) => places.map((i) => all[i]));
        if (!places.length) encoding[channel].legend = null; // Vega cannot render an empty legend
      }
    }
    if (units(spec).some(({ encoding }) => encoding?.yOffset)) spec.height = Math.max(120, spec.height * rows / before);
    return rows === 0 ? null : spec;
  }

  // Applies the page's filters: figures show the same rows as tables.
  function filter(chapter, matches) {
    const { rows } = chapter.data, found = rows.filter(matches);
    const names = found.length < rows.length ? found.map(({ name }) => name) : null;
    drawings.filter((drawing) => drawing.chapter === chapter).forEach((drawing) => drawing.of(names));
  }

  const BINS = 15;

  // Differences to zero-shot with the mean over the selected shifts.
  function paired(full, chapter, { places }) {
    const spec = structuredClone(full), { data } = chapter, label = `mean of ${places.length}`;
    const columns = chapter.columns(), samples = chapter.samples(), zero = chapter.rows.get("zero-shot")?.index;
    const sets = columns && places.flatMap((place) => columns[place]);
    const rows = new Map(data.rows.map(({ name }, index) => [name, index]));
    const has = (row) => sets && places.every((place) => columns[place].length) && samples.has(row, sets);
    spec.datasets.points = spec.datasets.points.flatMap((value) => {
      const row = rows.get(value.row);
      if (value.on !== data.mean) return [value];
      if (!has(row) || !has(zero)) return [];
      const found = samples.difference(row, zero, sets), { factor } = data.scale;
      if (found === null) return [];
      const [low, high] = found.interval.map((bound) => bound * factor);
      return [{ ...value, on: label, value: found.value * factor, low, high,
        Difference: text(data.scale, found.value, true), "95% interval": between(data.scale, found.interval, true) }];
    });
    for (const { encoding } of spec.layer) {
      if (encoding.y?.sort) encoding.y.sort = encoding.y.sort.map((on) => (on === data.mean ? label : on));
    }
    return spec;
  }

  function rebinned(full, chapter, { places, bins }) {
    const held = chapter.confidences(), samples = chapter.samples(), columns = chapter.columns();
    const spec = structuredClone(full), { data } = chapter;
    const label = places.length < data.over.length ? `mean of ${places.length}` : data.mean;
    if (!held) { // the new mean is unknown without confidences
      spec.datasets.points = spec.datasets.points.filter(({ on }) => on !== data.mean || on === label);
      return spec;
    }
    const columnsShown = [[data.labels[0], columns[0]]];
    if (data.mean) columnsShown.push([label, places.flatMap((place) => columns[place])]);
    const known = new Map(full.datasets.points.map(({ row, method, base, kind }) => [row, { row, method, base, kind }]));
    const panels = [];
    spec.datasets.points = data.rows.flatMap((row, r) => columnsShown.flatMap(([on, sets]) => {
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
        return { ...known.get(row.name), on, panel, share: bin.n, confidence, accuracy,
          Confidence: confidence.toFixed(3), Accuracy: accuracy.toFixed(3),
          "Fraction of samples": `${(100 * bin.n).toFixed(1)}%` };
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

  const layer = (spec, name) => spec.layer.find((one) => one.name === name);

  // The least-squares line through points, as in bench.leaderboard.published.baselines.
  function fitted(points) {
    const [x, y] = [mean(points.map((p) => p.x)), mean(points.map((p) => p.y))];
    const sum = (of) => points.reduce((found, p) => found + of(p.x - x, p.y - y), 0);
    const slope = sum((a, b) => a * b) / sum((a) => a * a);
    return (at) => y + slope * (at - x);
  }

  function rescaled(full, chapter, { places, asked }) {
    const { data } = chapter, spec = structuredClone(full);
    const more = (spec.usermeta?.on_request ?? []).filter(({ name }) => asked.has(name));
    spec.layer = [...more, ...spec.layer];
    const label = places.length < data.over.length ? `mean of ${places.length}` : data.mean;
    const positions = places.map((place) => data.over.indexOf(place));
    const { datasets, encoding } = spec, source = (one) => (one.data ?? spec.data).name;
    const points = (one) => datasets[source(one)].every((v) => v.shifts);
    const line = layer(spec, "line");
    spec.layer = spec.layer.filter((one) => one === line || points(one));
    // Vega makes the legend from the first layer of rows
    spec.params[0].views = [spec.layer.find((one) => one.encoding?.opacity).name];
    const shown = [...new Set(spec.layer.filter(points).map(source))].flatMap((name) => datasets[name]);
    for (const value of shown) {
      value.ood = mean(positions.map((p) => value.shifts[p]));
      value.y = logit(value.ood);
      value[data.mean] = text(data.scale, value.ood);
    }
    for (const axis of ["x", "y"]) {
      const found = shown.map((value) => value[axis]);
      const domain = [Math.min(...found) - 0.1, Math.max(...found) + 0.1];
      encoding[axis].scale.domain = domain;
      encoding[axis].axis.values = percentTicks(...domain).map(logit);
    }
    if (line) {
      const at = fitted(datasets.baselines);
      datasets.line = encoding.x.scale.domain.map((x) => ({ x, y: at(x) }));
    }
    encoding.y.title = encoding.y.title.replace(data.mean, label);
    for (const one of spec.layer) {
      for (const tip of one.encoding?.tooltip ?? []) if (tip.field === data.mean) tip.title = label;
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

  return { Drawing, drawings, filter, tip, watch };
})();
