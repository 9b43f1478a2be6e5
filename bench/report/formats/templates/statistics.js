"use strict";
// The closed forms of bench/leaderboard/stats/estimates.py and bench/leaderboard/stats/ranking.py,
// under the same names, so that the page can compute them for a subset of the shifts.
// docs/statistics.md has the formulae. Nothing here accesses the DOM.

const stats = (() => {
  const LEVEL = 0.95, FALSE_WINS = 0.05;
  const LARGEST = 8; // largest z searched: P(|Z| > 8) is about 1e-15

  // log Gamma(x) for x > 0 (Lanczos, g = 7, n = 9), accurate to 15 digits.
  function logGamma(x) {
    const c = [0.99999999999980993, 676.5203681218851, -1259.1392167224028, 771.32342877765313,
      -176.61502916214059, 12.507343278686905, -0.13857109526572012, 9.9843695780195716e-6,
      1.5056327351493116e-7];
    let sum = c[0];
    for (let i = 1; i < 9; i++) sum += c[i] / (x - 1 + i);
    const t = x + 6.5;
    return 0.5 * Math.log(2 * Math.PI) + (x - 0.5) * Math.log(t) - t + Math.log(sum);
  }

  // The regularised incomplete beta function I_x(a, b), by Lentz's continued fraction.
  function betaInc(x, a, b) {
    if (x <= 0) return 0;
    if (x >= 1) return 1;
    if (x > (a + 1) / (a + b + 2)) return 1 - betaInc(1 - x, b, a);
    const tiny = 1e-300;
    const front = Math.exp(
      logGamma(a + b) - logGamma(a) - logGamma(b) + a * Math.log(x) + b * Math.log1p(-x)) / a;
    let c = 1, d = 1 - (a + b) * x / (a + 1);
    d = 1 / (Math.abs(d) < tiny ? tiny : d);
    let h = d;
    for (let m = 1; m < 10000; m++) {
      const even = m * (b - m) * x / ((a + 2 * m - 1) * (a + 2 * m));
      const odd = -(a + m) * (a + b + m) * x / ((a + 2 * m) * (a + 2 * m + 1));
      let change = 1;
      for (const part of [even, odd]) {
        d = 1 + part * d;
        d = 1 / (Math.abs(d) < tiny ? tiny : d);
        c = 1 + part / c;
        if (Math.abs(c) < tiny) c = tiny;
        change = c * d;
        h *= change;
      }
      if (Math.abs(change - 1) < 1e-15) break;
    }
    return front * h;
  }

  // The argument at which an increasing function reaches a value, by bisection.
  function inverse(f, value, low, high) {
    for (let i = 0; i < 200 && high - low > 1e-15 * Math.max(1, Math.abs(high)); i++) {
      const middle = (low + high) / 2;
      if (f(middle) < value) low = middle; else high = middle;
    }
    return (low + high) / 2;
  }

  const betaQuantile = (p, a, b) => inverse((x) => betaInc(x, a, b), p, 0, 1);

  // P(T > t) for t >= 0, Student's t with `df` degrees of freedom.
  const tTail = (t, df) => 0.5 * betaInc(df / (df + t * t), df / 2, 0.5);

  // t with P(T > t) = tail, for tail < 1/2; searches in log t, as tails may be tiny.
  function tQuantile(tail, df) {
    const key = `${tail} ${df}`;
    if (!tQuantile.known.has(key)) {
      const logT = inverse((x) => -tTail(Math.exp(x), df), -tail, -30, 60);
      tQuantile.known.set(key, Math.exp(logT));
    }
    return tQuantile.known.get(key);
  }
  tQuantile.known = new Map();

  // z with P(Z > z) = tail, for tail < 1/2.
  function normalQuantile(tail) {
    if (!normalQuantile.known.has(tail)) {
      normalQuantile.known.set(tail, inverse((z) => -normalTail(z), -tail, 0, 40));
    }
    return normalQuantile.known.get(tail);
  }
  normalQuantile.known = new Map();

  // P(Z > z) for z >= 0: a series near 0, a continued fraction further out.
  function normalTail(z) {
    const density = Math.exp(-z * z / 2) / Math.sqrt(2 * Math.PI);
    if (z < 3) {
      let term = z, sum = z;
      for (let k = 1; k < 200 && term > 1e-17 * sum; k++) sum += term *= z * z / (2 * k + 1);
      return 0.5 - density * sum;
    }
    let fraction = 0;
    for (let k = 200; k >= 1; k--) fraction = k / (z + fraction);
    return density / (z + fraction);
  }

  function exact(right, n, level = LEVEL) {
    const tail = (1 - level) / 2;
    return [
      right ? betaQuantile(tail, right, n - right + 1) : 0,
      right < n ? betaQuantile(1 - tail, right + 1, n - right) : 1,
    ];
  }

  // sets: [{n, totals [S], products [S][S], weight}] -> {value, samples, seeds, count, freedom}
  function estimate(sets) {
    const count = sets[0].totals.length;
    const bySeed = new Array(count).fill(0);
    let samples = 0, least = 0;
    for (const { n, totals, products, weight } of sets) {
      for (let s = 0; s < count; s++) bySeed[s] += totals[s] * weight / n;
      samples += covariance(n, totals, products) / n * weight ** 2;
      least += (weight / n) ** 2;
    }
    samples = Math.max(samples, 0) + least;
    const value = bySeed.reduce((a, b) => a + b, 0) / count;
    let seeds = 0;
    if (count > 1) {
      seeds = bySeed.reduce((a, b) => a + (b - value) ** 2, 0) / (count - 1) / count;
    }
    const freedom = seeds > 0 ? (count - 1) * (samples + seeds) / seeds : Infinity;
    return { value, samples, seeds, count, freedom };
  }

  function widened([low, high], value, variance) {
    if (!variance) return [low, high];
    const more = normalQuantile((1 - LEVEL) / 2) ** 2 * variance;
    const half = (bound) => Math.sqrt((bound - value) ** 2 + more);
    return [Math.max(0, value - half(low)), Math.min(1, value + half(high))];
  }

  function covariance(n, totals, products) {
    const count = totals.length;
    const c = (s, t) => (products[s][t] - totals[s] * totals[t] / n) / (n - 1);
    if (count === 1) return c(0, 0);
    let sum = 0;
    for (let s = 0; s < count; s++) for (let t = 0; t < count; t++) if (s !== t) sum += c(s, t);
    return sum / (count * (count - 1));
  }

  function interval({ value, samples, seeds, count, freedom, selection = 0 }, level = LEVEL) {
    const tail = (1 - level) / 2;
    const t = freedom > 1e9 ? normalQuantile(tail) : tQuantile(tail, freedom);
    const half = count === 2
      ? Math.sqrt(normalQuantile(tail) ** 2 * samples + tQuantile(tail, 1) ** 2 * seeds)
      : t * Math.sqrt(samples + seeds);
    const wide = Math.hypot(half, normalQuantile(tail) * Math.sqrt(selection));
    return [value - wide, value + wide];
  }

  // Two-sided p-value, not smaller than about 1e-15. Searches for the z of its tail.
  function pValue({ value, samples, seeds, count, selection = 0 }) {
    let low = 0, high = LARGEST;
    for (let i = 0; i < 40; i++) {
      const z = (low + high) / 2;
      let wide = z ** 2 * (samples + selection);
      if (count > 1) wide += tQuantile(normalTail(z), count - 1) ** 2 * seeds;
      if (value ** 2 > wide) low = z; else high = z;
    }
    return 2 * normalTail(low);
  }

  // Whether each hypothesis is rejected.
  function holm(pValues, level) {
    const order = pValues.map((_, i) => i).sort((a, b) => pValues[a] - pValues[b]);
    const rejected = new Array(pValues.length).fill(false);
    for (const [j, i] of order.entries()) {
      if (pValues[i] > level / (pValues.length - j)) break;
      rejected[i] = true;
    }
    return rejected;
  }

  // Possible ranks [first, last] of m rows; `between(i, j)` is the estimate of row i minus row j.
  // Only pairs that are tested separate two rows.
  function rank(m, between, tested = () => true, falseWins = FALSE_WINS) {
    const pairs = [];
    for (let i = 0; i < m; i++) {
      for (let j = i + 1; j < m; j++) if (tested(i, j)) pairs.push([i, j, between(i, j)]);
    }
    const rejected = holm(pairs.map(([, , e]) => pValue(e)), falseWins);
    const ranges = Array.from({ length: m }, () => [1, m]);
    pairs.forEach(([i, j, e], k) => {
      if (!rejected[k] || e.value === 0) return;
      const [winner, loser] = e.value > 0 ? [i, j] : [j, i];
      ranges[winner][1] -= 1;
      ranges[loser][0] += 1;
    });
    return ranges;
  }

  function bytes(base64) {
    const text = atob(base64), found = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) found[i] = text.charCodeAt(i);
    return found;
  }

  function floats(base64) {
    return new Float32Array(bytes(base64).buffer);
  }

  // Packed bits, the first sample the highest bit, as [0, 1] for each of n samples.
  function unpacked(base64, n) {
    const packed = bytes(base64), bits = new Uint8Array(n);
    for (let i = 0; i < n; i++) bits[i] = (packed[i >> 3] >> (7 - (i & 7))) & 1;
    return bits;
  }

  // Quantised confidences as whole steps, 240 of one byte or 60 of one character.
  const ALPHABET = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
  const VALUE = new Uint8Array(128);
  [...ALPHABET].forEach((c, i) => { VALUE[c.charCodeAt(0)] = i; });
  function levels(text, steps) {
    if (steps > 63) return bytes(text);
    const found = new Uint8Array(text.length);
    for (let i = 0; i < text.length; i++) found[i] = VALUE[text.charCodeAt(i)];
    return found;
  }

  // Bins of confidence, ((b - 1) / bins, b / bins], over sets and seeds with equal weight per set:
  // fractions of samples, and weighted sums of confidences and of correct predictions.
  function reliability(parts, steps, bins) {
    const sums = Array.from({ length: bins }, () => ({ n: 0, confidence: 0, right: 0 }));
    for (const { bits, levels: of, share } of parts) {
      for (let i = 0; i < of.length; i++) {
        const bin = sums[Math.max(0, Math.ceil(of[i] * bins / steps) - 1)];
        bin.n += share;
        bin.confidence += share * Math.max(0, of[i] - 0.5) / steps;
        bin.right += share * bits[i];
      }
    }
    return sums;
  }

  // Sums over samples of series [m][n], and of the products of all pairs of series.
  function gram(series) {
    const totals = series.map((a) => a.reduce((x, y) => x + y, 0));
    const products = series.map(() => new Float64Array(series.length));
    for (let i = 0; i < series.length; i++) {
      for (let j = i; j < series.length; j++) {
        const a = series[i], b = series[j];
        let sum = 0;
        for (let k = 0; k < a.length; k++) sum += a[k] * b[k];
        products[i][j] = products[j][i] = sum;
      }
    }
    return { totals, products };
  }

  // Sums of all rows on some of the evaluation sets. Sets with the same ids are averaged sample by
  // sample first, as they are not independent (bench.leaderboard.stats.estimates.stack_rows).
  class Samples {
    // `seeds` [row] lists the seeds of each row, [null] if it has none.
    constructor({ sets, bits, redrawn }, seeds) {
      Object.assign(this, { sets, bits, redrawn, seeds, known: new Map() });
    }

    // The mean over sets of a row with the choices of each resample of the selection split; null if
    // nothing was chosen or if it is not known.
    chosenAgain(row, sets) {
      const key = `again ${row} ${sets.join()}`;
      if (!this.known.has(key)) {
        const found = sets.map((set) => this.redrawn?.[row][set]).filter(Boolean).map(floats);
        const size = Math.min(...found.map((values) => values.length));
        this.known.set(key, found.length ? Array.from({ length: size }, (_, r) =>
          found.reduce((sum, values) => sum + values[r], 0) / sets.length) : null);
      }
      return this.known.get(key);
    }

    // The variance of a row, or of `row` minus `other`, that is due to selection.
    selection(row, other, sets) {
      const one = this.chosenAgain(row, sets);
      const two = other === null ? null : this.chosenAgain(other, sets);
      const count = Math.min(one?.length ?? Infinity, two?.length ?? Infinity);
      if (count === Infinity || count < 2) return 0;
      const values = Array.from({ length: count }, (_, r) => (one?.[r] ?? 0) - (two?.[r] ?? 0));
      const mean = values.reduce((a, b) => a + b, 0) / count;
      return values.reduce((a, b) => a + (b - mean) ** 2, 0) / (count - 1);
    }

    // Positions of the seeds that two rows share; a row without seeds is paired with every seed.
    paired(row, other) {
      const [a, b] = [this.seeds[row], this.seeds[other]];
      if (a[0] === null) return b.map((_, j) => [0, j]);
      if (b[0] === null) return a.map((_, i) => [i, 0]);
      return a.flatMap((seed, i) => (b.includes(seed) ? [[i, b.indexOf(seed)]] : []));
    }

    has(row, sets) {
      return sets.every((set) => this.bits[row][set] !== null);
    }

    right(row, set) {
      return this.bits[row][set].map((text) =>
        unpacked(text, this.sets[set].n).reduce((a, b) => a + b, 0));
    }

    blocks(sets) {
      const byIds = new Map();
      for (const set of sets) {
        const { ids } = this.sets[set];
        byIds.set(ids, [...(byIds.get(ids) ?? []), set]);
      }
      return [...byIds.values()].map((same) => ({
        ...this.block(same), weight: same.length / sets.length,
      }));
    }

    block(sets) {
      const key = sets.join();
      if (!this.known.has(key)) this.known.set(key, this.computeBlock(sets));
      return this.known.get(key);
    }

    computeBlock(sets) {
      const { n } = this.sets[sets[0]];
      const series = [], first = [], counts = [];
      this.bits.forEach((row, r) => {
        first[r] = series.length;
        counts[r] = this.has(r, sets) ? row[sets[0]].length : 0;
        for (let s = 0; s < counts[r]; s++) {
          const sum = new Uint8Array(n);
          for (const set of sets) {
            const bits = unpacked(row[set][s], n);
            for (let i = 0; i < n; i++) sum[i] += bits[i];
          }
          series.push(sum);
        }
      });
      return { n, first, counts, per: sets.length, ...gram(series) };
    }

    // The estimate of a row, or of `row` minus `other`, as the mean over sets.
    estimate(row, other, sets, seeds = 0) {
      const places = other === null ? this.seeds[row].map((_, s) => [s]) : this.paired(row, other);
      const found = estimate(this.blocks(sets).map((block) => {
        const { n, first, per, totals, products, weight } = block;
        const parts = other === null ? [[row, 1, 0]] : [[row, 1, 0], [other, -1, 1]];
        const count = Math.max(seeds, places.length);
        const at = (r, s, part) => first[r] + places[Math.min(s, places.length - 1)][part];
        const t = [], p = [];
        for (let s = 0; s < count; s++) {
          t[s] = 0;
          p[s] = new Array(count).fill(0);
          for (const [r, sign, part] of parts) {
            t[s] += sign * totals[at(r, s, part)] / per;
            for (const [q, signQ, partQ] of parts) {
              for (let u = 0; u < count; u++) {
                p[s][u] += sign * signQ * products[at(r, s, part)][at(q, u, partQ)] / per ** 2;
              }
            }
          }
        }
        return { n, totals: t, products: p, weight };
      }));
      return { ...found, selection: this.selection(row, other, sets) };
    }

    interval(row, sets) {
      const [only] = sets;
      if (sets.length === 1 && this.bits[row][only].length === 1) {
        const [right] = this.right(row, only), { n } = this.sets[only];
        return widened(exact(right, n), right / n, this.selection(row, null, sets));
      }
      const [low, high] = interval(this.estimate(row, null, sets));
      return [Math.max(0, low), Math.min(1, high)];
    }

    // Null for rows without a common seed.
    difference(row, other, sets) {
      if (!this.paired(row, other).length) return null;
      const found = this.estimate(row, other, sets);
      return { value: found.value, interval: interval(found) };
    }

    // `untrained` is the position of zero-shot among all rows, or -1. With one seed, only pairs with
    // it are tested (bench.leaderboard.stats.significance.trained_once).
    ranks(rows, sets, untrained) {
      const seeds = Math.max(...rows.map((r) => this.bits[r][sets[0]].length));
      const tested = (i, j) => seeds > 1 || rows[i] === untrained || rows[j] === untrained;
      return rank(rows.length, (i, j) => this.estimate(rows[i], rows[j], sets, seeds), tested);
    }
  }

  return {
    Samples, betaQuantile, estimate, exact, holm, interval, levels, normalQuantile, pValue, rank,
    reliability, tQuantile, unpacked,
  };
})();
