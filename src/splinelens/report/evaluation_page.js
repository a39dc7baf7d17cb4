// What the page of an evaluation adds to its pictures: a threshold, and what it does.
(() => {
  const { colours, config, step, told } = Pictures;
  const { figures, sweep } = JSON.parse(document.getElementById("data").textContent);
  const plots = [...document.querySelectorAll(".plot")];
  const slider = document.getElementById("threshold");
  const share = document.getElementById("prevalence");
  const CURVES = { roc: ["rate", "recall"], precision_recall: ["recall", "precision"] };
  const TEXTS = 10000;

  async function draw(plot) {
    if (plot.drawn) return;
    plot.drawn = true;
    const figure = figures[plot.dataset.figure];
    figure.layout.dragmode = matchMedia("(pointer: coarse)").matches ? false : "zoom";
    await Plotly.newPlot(plot, figure.data, figure.layout, config());
    await Plotly.relayout(plot, colours(figure.layout));
    plot.on("plotly_hover", (event) => tell(plot, event.points[0]));
    if (plot.dataset.figure in CURVES)
      plot.on("plotly_click", (event) => event.points[0].curveNumber === 0 && choose(event.points[0].pointNumber));
    mark(plot);
  }

  // Thresholds fall along the sweep, and rise to the right on the slider.
  const chosen = () => sweep.threshold.length - 1 - Number(slider.value);
  const tell = (plot, point) => told(plot, figures[plot.dataset.figure], point);
  const percent = (value) => `${(100 * value).toFixed(value < 0.1 ? 2 : 1)} %`;
  const say = (name, words) => (document.getElementById(`told-${name}`).textContent = words);

  // The dot on a curve where the slider stands.
  function mark(plot) {
    const [x, y] = CURVES[plot.dataset.figure] || [];
    if (!x || !plot.drawn || !plot.data) return;
    const at = chosen();
    Plotly.restyle(plot, { x: [[sweep[x][at]]], y: [[sweep[y][at]]] }, [plot.data.length - 1]);
  }

  function refresh() {
    const at = chosen();
    const [recall, rate] = [sweep.recall[at], sweep.rate[at]];
    const positive = Number(share.value) / 100;
    const sound = positive > 0 && positive < 1;
    const [right, wrong] = [positive * recall, (1 - positive) * rate];
    say("threshold", sweep.threshold[at].toFixed(4));
    say("recall", percent(recall));
    say("rate", percent(rate));
    say("precision", sound && right + wrong > 0 ? percent(right / (right + wrong)) : "-");
    say("alarms", sound ? Math.round(TEXTS * wrong).toLocaleString("en") : "-");
    say("missed", sound ? Math.round(TEXTS * (positive - right)).toLocaleString("en") : "-");
    slider.setAttribute("aria-valuetext", `threshold ${sweep.threshold[at].toFixed(4)}`);
    share.setAttribute("aria-invalid", String(!sound));
    plots.forEach(mark);
  }

  function choose(at) {
    slider.value = String(sweep.threshold.length - 1 - at);
    refresh();
  }

  slider.addEventListener("input", refresh);
  share.addEventListener("input", refresh);
  for (const button of document.querySelectorAll("[data-point]"))
    button.addEventListener("click", () => choose(Number(button.dataset.point)));
  for (const plot of plots)
    plot.addEventListener("keydown", (event) => step(event, figures[plot.dataset.figure], tell));
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", () => {
    for (const plot of plots.filter((plot) => plot.drawn)) Plotly.relayout(plot, colours(figures[plot.dataset.figure].layout));
  });
  refresh();
  addEventListener("beforeprint", () => plots.forEach(draw));
  const observer = new IntersectionObserver(
    (seen) => seen.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
    { rootMargin: "500px" },
  );
  for (const plot of plots) observer.observe(plot);
})();
