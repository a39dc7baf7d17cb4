// Labels of tokens, the choice of threshold and layer, and the views of the slice.
(() => {
  const { dimension, labels, layers, ticks } = Page.data;
  const chosen = { threshold: "absolute", layer: 0 };
  const kind = (plot) => plot.dataset.figure.split("-")[0];
  const textOf = (plot) => Page.figureOf(plot).layout.meta?.text;

  // As many labels of tokens as fit without overlap.
  function label(plot) {
    const figure = Page.figureOf(plot);
    const text = textOf(plot);
    if (text === undefined || figure.data[0].type !== "heatmap") return;
    const count = ticks[text].length;
    const [first, last] = plot.layout.xaxis.range || [-0.5, count - 0.5];
    const step = Math.max(1, Math.ceil(((last - first) * 15) / Math.max(100, plot.clientWidth - 60)));
    const shown = ticks[text].map((_, at) => at).filter((at) => at % step === 0);
    Plotly.relayout(plot, {
      "xaxis.tickmode": "array",
      "xaxis.tickvals": shown,
      "xaxis.ticktext": shown.map((at) => ticks[text][at]),
      "xaxis.tickangle": -60,
    });
  }

  // The numbers of the chosen layer, which the page holds once for all layers.
  function fill(plot, figure) {
    figure.data.forEach((trace, threshold) => {
      const counts = dimension[textOf(plot)][threshold][chosen.layer] || [];
      trace.customdata = counts;
      trace.z = trace.meta.log ? counts.map((row) => row.map((n) => Math.max(trace.zmin, Math.log10(n)))) : counts;
      trace.text = counts.map(() => labels[textOf(plot)]);
    });
  }

  function refresh() {
    for (const plot of Page.plots) {
      const figure = Page.figureOf(plot);
      if (kind(plot) === "heads") fill(plot, figure);
      else if (kind(plot) !== "dimension") continue;
      for (const trace of figure.data) trace.visible = trace.name === chosen.threshold;
      if (plot.data) Plotly.react(plot, figure.data, plot.layout, Page.CONFIG);
    }
    document.getElementById("layer-chosen").textContent = `layer ${layers[chosen.layer]}`;
  }

  function look(view) {
    const plot = document.querySelector('[data-figure="slice"]');
    const { layout } = Page.figureOf(plot);
    const [left, low, right, high] = layout.meta.views[view];
    const { width, opacity } = layout.meta.whole;
    const whole = view === layout.meta.views.length - 1;
    const walls = whole ? { "line.width": width, opacity } : { "line.width": 1, opacity: 1 };
    if (plot.data) Plotly.update(plot, walls, { "xaxis.range": [left, right], "yaxis.range": [low, high] }, [0]);
  }

  const slider = document.getElementById("layer");
  if (slider) {
    const usable = slider.dataset.layers.split(",").map(Number);
    const choose = (layer) => {
      if (!usable.includes(layer)) return;
      chosen.layer = layer;
      slider.value = String(usable.indexOf(layer));
      refresh();
    };
    slider.addEventListener("input", () => choose(usable[Number(slider.value)]));
    slider.choose = choose;
    for (const input of document.querySelectorAll('input[name="threshold"]'))
      input.addEventListener("change", () => ((chosen.threshold = input.value), refresh()));
    choose(usable[Number(slider.value)]);
  }
  for (const input of document.querySelectorAll('input[name="view"]'))
    input.addEventListener("change", () => look(Number(input.value)));

  Page.start({
    before: (plot, figure) => {
      const text = textOf(plot);
      if (kind(plot) === "slice") figure.layout.height = Math.min(figure.layout.height, plot.clientWidth + 20);
      for (const trace of figure.data)
        if (text !== undefined) trace.text = trace.z ? trace.z.map(() => labels[text]) : labels[text];
    },
    after: (plot) => {
      label(plot);
      plot.on("plotly_relayout", (change) => {
        if ("xaxis.range[0]" in change || "xaxis.autorange" in change) label(plot);
      });
      if (kind(plot) === "dimension")
        plot.on("plotly_click", (event) => slider.choose(layers.map(String).indexOf(String(event.points[0].y))));
    },
    hovered: (plot, point, trace) => {
      for (const marked of document.querySelectorAll(".tokens .here")) marked.classList.remove("here");
      if (textOf(plot) !== undefined && trace.type === "heatmap")
        document.querySelector(`[data-text="${textOf(plot)}"] [data-tokens~="${point.x}"]`)?.classList.add("here");
    },
  });
  let waiting;
  addEventListener("resize", () => {
    clearTimeout(waiting);
    waiting = setTimeout(() => Page.plots.filter((plot) => plot.data).forEach(label), 200);
  });
})();
