// The slider over thresholds: what each one does, and where it stands on the curves.
(() => {
  const { sweep } = Page.data;
  const CURVES = { roc: ["rate", "recall"], precision_recall: ["recall", "precision"] };
  const TEXTS = 10000;
  const last = sweep.threshold.length - 1;
  const slider = document.getElementById("threshold");
  const prevalence = document.getElementById("prevalence");
  const chosen = () => last - Number(slider.value); // thresholds fall along the sweep, and rise to the right
  const percent = (value) => `${(100 * value).toFixed(value < 0.1 ? 2 : 1)} %`;
  const set = (name, words) => (document.getElementById(`value-${name}`).textContent = words);

  function mark(plot) {
    const [x, y] = CURVES[plot.dataset.figure] || [];
    if (!x || !plot.data) return;
    Plotly.restyle(plot, { x: [[sweep[x][chosen()]]], y: [[sweep[y][chosen()]]] }, [plot.data.length - 1]);
  }

  function refresh() {
    const at = chosen();
    const positive = Number(prevalence.value) / 100;
    const valid = positive > 0 && positive < 1;
    const [hits, alarms] = [positive * sweep.recall[at], (1 - positive) * sweep.rate[at]];
    set("threshold", sweep.threshold[at].toFixed(4));
    set("recall", percent(sweep.recall[at]));
    set("rate", percent(sweep.rate[at]));
    set("precision", valid && hits + alarms > 0 ? percent(hits / (hits + alarms)) : "-");
    set("alarms", valid ? Math.round(TEXTS * alarms).toLocaleString("en") : "-");
    set("missed", valid ? Math.round(TEXTS * (positive - hits)).toLocaleString("en") : "-");
    slider.setAttribute("aria-valuetext", `threshold ${sweep.threshold[at].toFixed(4)}`);
    prevalence.setAttribute("aria-invalid", String(!valid));
    Page.plots.forEach(mark);
  }

  function choose(at) {
    slider.value = String(last - at);
    refresh();
  }

  slider.addEventListener("input", refresh);
  prevalence.addEventListener("input", refresh);
  for (const button of document.querySelectorAll("[data-point]"))
    button.addEventListener("click", () => choose(Number(button.dataset.point)));

  const opener = document.getElementById("open-errors");
  if (opener) {
    const closed = opener.textContent;
    opener.hidden = false;
    opener.addEventListener("click", () => {
      const open = opener.getAttribute("aria-expanded") === "false";
      for (const mistake of document.querySelectorAll(".mistake")) mistake.open = open;
      opener.setAttribute("aria-expanded", String(open));
      opener.textContent = open ? "Close all" : closed;
    });
  }
  refresh();
  Page.start({
    after: (plot) => {
      mark(plot);
      if (plot.dataset.figure in CURVES)
        plot.on("plotly_click", (event) => event.points[0].curveNumber === 0 && choose(event.points[0].pointNumber));
    },
  });
})();
