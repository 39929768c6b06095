// SPDX-License-Identifier: Apache-2.0
// Draws the profile that stands in this page. Needs d3 and d3-flame-graph; loads nothing.
"use strict";

(() => {
  const profile = JSON.parse(document.getElementById("profile").textContent);
  const byId = (id) => document.getElementById(id);
  const [KERNEL, USER, INLINED, JIT] = [1, 2, 3, 4];
  const differential = profile.differential;
  let before = false;

  // Nodes come as rows of numbers, parents first: depth, function, value, own, file, line, and
  // the value before.
  function tree() {
    const path = [];
    let largest = 1;
    for (const [depth, named, value, own, file, line, old] of profile.nodes) {
      const [name, module, kind] = profile.functions[named];
      const node = {
        name,
        module: profile.strings[module],
        kind,
        value,
        own,
        place: file ? profile.strings[file] + (line ? `:${line}` : "") : "",
        before: old || 0,
        children: [],
      };
      if (depth) {
        path[depth - 1].children.push(node);
        largest = Math.max(largest, Math.abs(node.value - node.before));
      }
      path[depth] = node;
    }
    return [path[0], largest];
  }

  const [data, largest] = tree();

  const whole = (number) => number.toLocaleString("en");
  function amount(value) {
    if (profile.unit === "nanoseconds") {
      const units = [[1e9, "s"], [1e6, "ms"], [1e3, "us"], [1, "ns"]];
      const [size, name] = units.find(([each]) => value >= each) || units[3];
      return `${Number((value / size).toPrecision(4))} ${name}`;
    }
    if (profile.unit === "bytes" && value >= 1024) {
      const power = Math.min(4, Math.floor(Math.log2(value) / 10));
      return `${Number((value / 1024 ** power).toPrecision(4))} ${"KMGT"[power - 1]}iB`;
    }
    return `${whole(value)} ${profile.unit}`;
  }
  const share = (value, total) => `${((100 * value) / (total || 1)).toFixed(2)} %`;

  function label(d) {
    const node = d.data;
    const lines = [node.name];
    if (node.module) lines.push(node.kind === INLINED ? `${node.module} (inlined)` : node.module);
    if (node.place) lines.push(node.place);
    if (differential) {
      const change = node.value - node.before;
      lines.push(
        `before ${share(node.before, data.before)}, after ${share(node.value, data.value)}: ` +
          `${change < 0 ? "-" : "+"}${amount(Math.abs(change))}`
      );
    } else {
      lines.push(
        `total ${share(node.value, data.value)}, ${amount(node.value)}` +
          ` | self ${share(node.own, data.value)}, ${amount(node.own)}`
      );
    }
    return lines.join("\n");
  }

  function hash(name) {
    let sum = 0;
    for (let i = 0; i < name.length; i++) sum = (sum * 31 + name.charCodeAt(i)) | 0;
    return ((sum >>> 0) % 1000) / 1000;
  }

  const HUES = { [KERNEL]: [32, 10], [USER]: [4, 16], [INLINED]: [176, 16], [JIT]: [98, 24] };
  function color(d) {
    if (d.highlight) return "#e15be8";
    const node = d.data;
    if (differential) {
      const change = node.value - node.before;
      const strength = Math.sqrt(Math.min(1, Math.abs(change) / largest));
      if (!d.parent || !change) return "#e8e8e8";
      return `hsl(${change > 0 ? 4 : 216} 85% ${94 - 34 * strength}%)`;
    }
    const hue = HUES[node.kind];
    const spread = hash(node.name);
    if (!hue) return `hsl(215 14% ${74 + 8 * spread}%)`;
    return `hsl(${hue[0] + hue[1] * spread} ${68 + 14 * spread}% ${62 + 12 * (1 - spread)}%)`;
  }

  let wanted = () => false;
  const calm = window.matchMedia && window.matchMedia("(prefers-reduced-motion: reduce)").matches;
  const place = d3.select("#chart");
  const width = () => byId("chart").clientWidth || 1200;
  const chart = flamegraph
    .default()
    .width(width())
    .cellHeight(19)
    .minFrameSize(0.6)
    .transitionDuration(calm ? 0 : 200)
    .sort(false)
    .resetHeightOnZoom(true)
    .getName((d) => d.data.name)
    .getValue((d) => (before ? d.before : d.value))
    .setLabelHandler(label)
    .setDetailsHandler((text) => {
      byId("details").textContent = text || "\u00a0";
    })
    .setColorMapper(color)
    .setSearchMatch((d) => wanted(d.data))
    .setSearchHandler(() => {})
    .onClick(matched);
  place.datum(data).call(chart);

  // What of that which is shown goes through functions that match, each stack once.
  function matched() {
    const output = byId("matched");
    if (!byId("search").value) {
      output.value = "";
      return;
    }
    const root = place.datum();
    let sum = 0;
    let count = 0;
    const stack = [[root, false]];
    while (stack.length) {
      const [node, inside] = stack.pop();
      if (node.highlight) {
        count++;
        if (!inside) sum += node.value;
      }
      for (const child of node.children || []) stack.push([child, inside || node.highlight]);
    }
    output.value = `matched ${share(sum, root.value)} (${whole(count)} frames)`;
  }

  function search() {
    const term = byId("search").value;
    if (!term) {
      chart.clear();
      matched();
      return;
    }
    let test;
    const expression = /^\/(.+)\/$/.exec(term);
    try {
      const compiled = expression && new RegExp(expression[1], "i");
      const lower = term.toLowerCase();
      test = compiled
        ? (text) => compiled.test(text)
        : (text) => text.toLowerCase().includes(lower);
    } catch (error) {
      byId("matched").value = error.message;
      return;
    }
    const known = new Map();
    wanted = (node) => {
      const key = `${node.name}\n${node.module}`;
      if (!known.has(key)) known.set(key, test(node.name) || test(node.module));
      return known.get(key);
    };
    chart.search(term);
    matched();
  }

  function later(work, milliseconds) {
    let timer = 0;
    return () => {
      clearTimeout(timer);
      timer = setTimeout(work, milliseconds);
    };
  }

  function reset() {
    chart.resetZoom();
    matched();
  }

  byId("search").addEventListener("input", later(search, 150));
  byId("reset").addEventListener("click", reset);
  byId("invert").addEventListener("click", () => {
    chart.inverted(!chart.inverted()).update();
    byId("invert").textContent = chart.inverted() ? "Flame" : "Icicle";
  });
  byId("widths").hidden = !differential;
  byId("widths").addEventListener("click", () => {
    before = !before;
    byId("widths").textContent = before ? "Widths: before" : "Widths: after";
    chart.update();
    matched();
  });

  function theme(name) {
    document.documentElement.dataset.theme = name;
    byId("theme").textContent = name === "dark" ? "Light" : "Dark";
  }
  const dark = window.matchMedia && window.matchMedia("(prefers-color-scheme: dark)").matches;
  theme(dark ? "dark" : "light");
  byId("theme").addEventListener("click", () => {
    theme(document.documentElement.dataset.theme === "dark" ? "light" : "dark");
  });

  window.addEventListener(
    "resize",
    later(() => chart.width(width()).update(), 150)
  );
  document.addEventListener("keydown", (event) => {
    if (event.key === "Escape") {
      byId("search").value = "";
      search();
      reset();
    } else if (event.key === "/" && event.target !== byId("search")) {
      event.preventDefault();
      byId("search").focus();
    }
  });
})();
