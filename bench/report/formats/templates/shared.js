"use strict";
// Values in the format of the report, and DOM elements. Names from records are always set as text.

const shared = (() => {
  const DASH = "–";

  const capital = (text) => text[0].toUpperCase() + text.slice(1);
  const distinct = (values) => [...new Set(values)];
  const mean = (values) => values.reduce((a, b) => a + b, 0) / values.length;

  function deviation(values) {
    if (values.length < 2) return null;
    const middle = mean(values);
    return Math.sqrt(values.reduce((a, b) => a + (b - middle) ** 2, 0) / (values.length - 1));
  }

  // A value as Python prints it: rounded half to even, without negative zero.
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

  // The mean over places for each seed; null if any value is missing.
  function averaged(places, over) {
    const bySeed = places[0].map((_, s) => over.map((place) => places[place][s]));
    return bySeed.flat().some((v) => v === null) ? null : bySeed.map(mean);
  }

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

  return { DASH, averaged, between, box, capital, deviation, distinct, element, mean, option, ranksText, text };
})();
