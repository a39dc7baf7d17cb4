// What the page of an inspection adds to its pictures: labels of tokens, thresholds, layers, views.
(() => {
  const { PAIRS, colours, config, step, told } = Pictures;
  const { figures, tokens, dimension, layers } = JSON.parse(document.getElementById("data").textContent);
  const plots = [...document.querySelectorAll(".plot")];
  const coarse = matchMedia("(pointer: coarse)");
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const THRESHOLDS = ["absolute", "relative"];
  const chosen = { threshold: "absolute", layer: 0 };
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

  function tell(plot, point) {
    const trace = told(plot, figures[plot.dataset.figure], point);
    const portrait = figures[plot.dataset.figure].layout.meta?.portrait;
    for (const marked of document.querySelectorAll(".tokens .here")) marked.classList.remove("here");
    if (portrait !== undefined && trace.type === "heatmap")
      document.querySelector(`[data-text="${portrait}"] [data-tokens~="${point.x}"]`)?.classList.add("here");
  }

  const walk = (event) => step(event, figures[event.currentTarget.dataset.figure], tell);

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
