"use strict";
// Drawing the report's Vega-Lite specifications, and two of them again on some of the shifts.

const figures = (() => {
  const { box, element, mean, option, text } = shared;

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
      const asked = { places: places ?? this.chapter.data.over, bins: this.bins ?? BINS, bare: this.bare ?? false };
      const same = !places && asked.bins === BINS && !asked.bare;
      this.spec = same ? this.full : make(this.full, this.chapter, asked);
      this.drawn = false;
      this.draw();
    }

    // Other bins than the report's, where the page has confidences; a scatter plot of rows alone.
    choosing() {
      const name = this.figure.dataset.figure;
      if (name === "id-ood" && layer(this.spec, "baselines")) {
        this.holder.before(box("Baselines", true, (on) => { this.bare = !on; this.over(this.places ?? null); }));
      }
      if (name !== "reliability" || !this.chapter.confidences()) return;
      const select = element("select", { onchange: (e) => { this.bins = Number(e.target.value); this.over(this.places ?? null); } },
        ...[5, 10, BINS, 20, 30].map((n) => option(n, n)));
      select.value = String(BINS);
      this.holder.before(element("label", { class: "bins" }, "Bins ", select));
    }
  }

  const BINS = 15;

  function rebinned(full, chapter, { places, bins }) {
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

  const layer = (spec, name) => spec.layer.find(({ data }) => data.name === name);

  // The line of least squares through points, as bench.baselines has it.
  function fitted(points) {
    const [x, y] = [mean(points.map((p) => p.x)), mean(points.map((p) => p.y))];
    const sum = (of) => points.reduce((found, p) => found + of(p.x - x, p.y - y), 0);
    const slope = sum((a, b) => a * b) / sum((a) => a * a);
    return (at) => y + slope * (at - x);
  }

  function rescaled(full, chapter, { places, bare }) {
    const { data } = chapter, spec = structuredClone(full);
    const label = places.length < data.over.length ? `mean of ${places.length}` : data.mean;
    const positions = places.map((place) => data.over.indexOf(place));
    const points = ({ data: { name, values } }) => values.every((v) => v.shifts) && !(bare && name === "baselines");
    const line = bare ? undefined : layer(spec, "line");
    spec.layer = spec.layer.filter((one) => one === line || points(one));
    const shown = spec.layer.filter(points).flatMap((one) => one.data.values);
    for (const value of shown) {
      value.ood = mean(positions.map((p) => value.shifts[p]));
      value.y = logit(value.ood);
      value[data.mean] = text(data.scale, value.ood);
    }
    for (const axis of ["x", "y"]) {
      const found = shown.map((value) => value[axis]);
      const domain = [Math.min(...found) - 0.1, Math.max(...found) + 0.1];
      const values = percentTicks(...domain).map(logit);
      for (const { encoding } of spec.layer) {
        Object.assign(encoding[axis].scale, { domain });
        Object.assign(encoding[axis].axis, { values });
      }
    }
    if (line) {
      const at = fitted(layer(spec, "baselines").data.values);
      line.data.values = line.encoding.x.scale.domain.map((x) => ({ x, y: at(x) }));
    }
    for (const { encoding } of spec.layer) {
      encoding.y.title = encoding.y.title.replace(data.mean, label);
      for (const tip of encoding.tooltip ?? []) if (tip.field === data.mean) tip.title = label;
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

  return { Drawing, drawings, tip, watch };
})();
