// Draws the figures of the page, keeps them in the colours of the scheme, and makes them work by keyboard.
"use strict";
(() => {
  const { figures, tokens, dimension, layers } = JSON.parse(document.getElementById("data").textContent);
  const plots = [...document.querySelectorAll(".plot")];
  const coarse = matchMedia("(pointer: coarse)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const THRESHOLDS = ["absolute", "relative"];
  const chosen = { threshold: "absolute", layer: 0 };
  // A label never becomes markup, and its direction of writing ends with it.
  const PAIRS = [["&", "&amp;"], ["<", "&lt;"], [">", "&gt;"], ["%{", "%\u2060{"]];
  const escape = (label) => "\u2068" + PAIRS.reduce((all, [sign, safe]) => all.replaceAll(sign, safe), label) + "\u2069";
  const cut = (label) => {
    const characters = [...label.replace(/^␣(?=.)/u, "")]; // the hover label keeps the blank
    return characters.length > 14 ? characters.slice(0, 13).join("") + "…" : characters.join("");
  };
  const named = tokens.map((labels) => labels.map((label, token) => escape(`${token} ${label}`)));
  const ticks = tokens.map((labels) => labels.map((label) => escape(cut(label))));

  // What a heat map over tokens lacks: its labels, which are the same in every row, and room for them.
  function complete(figure) {
    const { portrait, grid } = figure.layout.meta || {};
    if (grid) {
      const longest = Math.max(...tokens[portrait].map((label) => Math.min(14, [...label].length)));
      figure.layout.margin.b = 22 + 7 * longest;
      figure.layout.height += figure.layout.margin.b;
    }
    for (const trace of figure.data) {
      if (portrait === undefined) continue;
      trace.text = trace.type === "heatmap" ? trace.y.map(() => named[portrait]) : named[portrait];
    }
    return figure;
  }

  function colours(layout) {
    const css = getComputedStyle(document.documentElement);
    const [ink, line, card, empty] = ["--ink", "--line", "--card", "--empty"].map((name) => css.getPropertyValue(name));
    const patch = { paper_bgcolor: card, plot_bgcolor: layout.meta?.grid ? empty : card };
    Object.assign(patch, { "font.color": ink, "font.family": getComputedStyle(document.body).fontFamily, "font.size": 12 });
    Object.assign(patch, { "hoverlabel.bgcolor": card, "hoverlabel.bordercolor": line, "hoverlabel.font.color": ink });
    patch["hoverlabel.align"] = "left";
    for (const axis of ["xaxis", "yaxis"])
      for (const part of ["gridcolor", "linecolor", "zerolinecolor"]) patch[`${axis}.${part}`] = line;
    (layout.annotations || []).forEach((_, at) => (patch[`annotations[${at}].bgcolor`] = card));
    return patch;
  }

  // As many labels of tokens as fit without touching.
  function labelled(plot, figure) {
    const portrait = figure.layout.meta?.portrait;
    if (portrait === undefined || figure.data[0].type !== "heatmap") return {};
    const count = tokens[portrait].length;
    const [first, last] = plot.layout?.xaxis?.range || [-0.5, count - 0.5];
    const step = Math.max(1, Math.ceil(((last - first) * 15) / Math.max(100, plot.clientWidth - 60)));
    const places = tokens[portrait].map((_, at) => at).filter((at) => at % step === 0);
    return {
      "xaxis.tickmode": "array",
      "xaxis.tickvals": places,
      "xaxis.ticktext": places.map((at) => ticks[portrait][at]),
      "xaxis.tickangle": -60,
    };
  }

  const config = () => ({
    responsive: true,
    displayModeBar: false, // it has a button that sends data to a server
    doubleClick: "reset",
  });

  async function draw(plot) {
    if (plot.drawn) return;
    plot.drawn = true;
    const figure = complete(figures[plot.dataset.figure]);
    if (plot.dataset.figure.startsWith("heads-")) fillHeads(plot, figure);
    figure.layout.dragmode = coarse.matches ? false : "zoom";
    await Plotly.newPlot(plot, figure.data, figure.layout, config());
    await Plotly.relayout(plot, { ...colours(figure.layout), ...labelled(plot, figure) });
    plot.on("plotly_hover", (event) => tell(plot, event.points[0]));
    plot.on("plotly_relayout", (change) => {
      if ("xaxis.range[0]" in change || "xaxis.autorange" in change) relabel(plot);
    });
    if (plot.dataset.figure.startsWith("dimension-"))
      plot.on("plotly_click", (event) => choose(layers.map(String).indexOf(String(event.points[0].y))));
  }

  function relabel(plot) {
    const patch = labelled(plot, figures[plot.dataset.figure]);
    if (Object.keys(patch).length) Plotly.relayout(plot, patch);
  }

  // The numbers of the layer that the slider chose.
  function fillHeads(plot, figure) {
    const portrait = figure.layout.meta.portrait;
    figure.data.forEach((trace, number) => {
      const counts = dimension[portrait][number][chosen.layer] || [];
      const low = trace.zmin;
      trace.customdata = counts;
      trace.z = trace.meta.log ? counts.map((row) => row.map((count) => Math.max(low, Math.log10(count)))) : counts;
      trace.visible = THRESHOLDS[number] === chosen.threshold;
    });
  }

  function refresh() {
    for (const plot of plots) {
      const figure = figures[plot.dataset.figure];
      if (plot.dataset.figure.startsWith("heads-")) fillHeads(plot, figure);
      else if (plot.dataset.figure.startsWith("dimension-"))
        figure.data.forEach((trace, number) => (trace.visible = THRESHOLDS[number] === chosen.threshold));
      else continue;
      if (plot.drawn) Plotly.react(plot, figure.data, plot.layout, config());
    }
    for (const part of document.querySelectorAll("[data-threshold]")) part.hidden = part.dataset.threshold !== chosen.threshold;
    const output = document.getElementById("layer-chosen");
    if (output) output.textContent = `layer ${layers[chosen.layer]}`;
  }

  function choose(layer) {
    if (layer < 0 || !dimension[0][0][layer]) return;
    chosen.layer = layer;
    const slider = document.getElementById("layer");
    slider.value = slider.dataset.layers.split(",").indexOf(String(layer));
    refresh();
  }

  // The words of the hover label, also below the picture: for screen readers and for fingers.
  function tell(plot, point) {
    const trace = figures[plot.dataset.figure].data[point.curveNumber];
    const [row, column] = Array.isArray(point.pointNumber) ? point.pointNumber : [point.pointNumber];
    const pick = (values) => (column === undefined ? values?.[row] : values?.[row]?.[column]);
    const found = { x: point.x, y: point.y, z: point.z, text: pick(trace.text), customdata: pick(trace.customdata) };
    const said = trace.hovertemplate
      .replace(/<extra>.*$/, "")
      .split("<br>")
      .map((part) =>
        part.replace(/%\{(\w+)(?:\[(\d)\])?(?::[^}]*)?\}/g, (_, name, at) => {
          const value = at === undefined ? found[name] : found[name]?.[at];
          if (typeof value !== "number") return value ?? "";
          const small = value !== 0 && Math.abs(value) < 1e-3;
          return small ? value.toExponential(3) : String(Number(value.toPrecision(4)));
        }),
      )
      .join(" · ");
    const plain = [...PAIRS].reverse().reduce((all, [sign, safe]) => all.replaceAll(safe, sign), said);
    plot.closest("figure").querySelector(".readout").textContent = plain;
    const portrait = figures[plot.dataset.figure].layout.meta?.portrait;
    for (const marked of document.querySelectorAll(".tokens .here")) marked.classList.remove("here");
    if (portrait !== undefined && trace.type === "heatmap")
      document.querySelector(`[data-text="${portrait}"] [data-tokens~="${point.x}"]`)?.classList.add("here");
  }

  // Arrow keys walk over the cells of a heat map, or along a curve and from curve to curve.
  const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 0], ArrowDown: [-1, 0] };
  function walk(event) {
    const step = STEPS[event.key];
    const plot = event.currentTarget;
    if (!step || event.altKey || event.ctrlKey || event.metaKey || !plot.drawn) return;
    const { data, layout } = figures[plot.dataset.figure];
    const seen = data.findIndex((trace) => trace.visible !== false);
    const grid = data[seen].type === "heatmap";
    const rows = grid ? data[seen].z.length : data.length;
    if (!rows) return;
    event.preventDefault();
    const sign = layout.yaxis.autorange === "reversed" ? -1 : 1;
    const here = plot.here || [grid ? -1 : 0, -1];
    const row = Math.min(rows - 1, Math.max(0, here[0] + sign * step[0]));
    const columns = grid ? data[seen].z[row].length : data[row].y.length;
    const column = Math.min(columns - 1, Math.max(0, here[1] + step[1]));
    plot.here = [row, column];
    const point = grid ? { curveNumber: seen, pointNumber: [row, column] } : { curveNumber: row, pointNumber: column };
    Plotly.Fx.hover(plot, [grid ? { curveNumber: seen, xval: column, yval: row } : point]);
    const trace = data[point.curveNumber];
    tell(plot, {
      ...point,
      x: grid ? (trace.x?.[column] ?? column) : trace.x[column],
      y: grid ? trace.y[row] : trace.y[column],
      z: grid ? trace.z[row][column] : undefined,
    });
  }

  function look(view) {
    const plot = document.querySelector('[data-figure="slice"]');
    const [left, low, right, high] = figures.slice.layout.meta.views[view];
    if (!plot.drawn) return;
    const { line, opacity } = figures.slice.data[0];
    const walls = view ? { "line.width": 1, opacity: 1 } : { "line.width": line.width, opacity };
    Plotly.update(plot, walls, { "xaxis.range": [left, right], "yaxis.range": [low, high] }, [0]);
  }

  for (const plot of plots) plot.addEventListener("keydown", walk);
  for (const input of document.querySelectorAll('input[name="threshold"]'))
    input.addEventListener("change", () => ((chosen.threshold = input.value), refresh()));
  for (const input of document.querySelectorAll('input[name="view"]'))
    input.addEventListener("change", () => look(Number(input.value)));
  const slider = document.getElementById("layer");
  if (slider) {
    const usable = slider.dataset.layers.split(",").map(Number);
    slider.addEventListener("input", () => choose(usable[Number(slider.value)]));
    chosen.layer = usable[Number(slider.value)];
    refresh();
  }
  dark.addEventListener("change", () => {
    for (const plot of plots.filter((plot) => plot.drawn)) Plotly.relayout(plot, colours(figures[plot.dataset.figure].layout));
  });
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => plots.filter((plot) => plot.drawn).forEach(relabel), 200);
  });
  addEventListener("beforeprint", () => plots.forEach(draw));
  const observer = new IntersectionObserver(
    (seen) => seen.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
    { rootMargin: "500px" },
  );
  for (const plot of plots) observer.observe(plot);
})();
