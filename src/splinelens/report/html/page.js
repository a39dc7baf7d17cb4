// Shared by all pages: draws each figure when it comes into view, in the colors of the scheme, shows the values of a
// point below it, and moves over points by arrow keys.
"use strict";
const Page = (() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const plots = [...document.querySelectorAll(".plot")];
  const figureOf = (plot) => data.figures[plot.dataset.figure];
  const dark = matchMedia("(prefers-color-scheme: dark)");
  const coarse = matchMedia("(pointer: coarse)");
  const CONFIG = { responsive: true, displayModeBar: false, doubleClick: "reset" }; // the bar can send data to a server
  const UNESCAPE = [["%\u2060{", "%{"], ["&gt;", ">"], ["&lt;", "<"], ["&amp;", "&"]];
  let page; // what a page adds: before(plot, figure), after(plot, figure), hovered(plot, point, trace)

  function colors(layout) {
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

  async function draw(plot) {
    if (plot.drawn) return;
    plot.drawn = true;
    const figure = figureOf(plot);
    page.before?.(plot, figure);
    figure.layout.dragmode = coarse.matches ? false : "zoom";
    await Plotly.newPlot(plot, figure.data, figure.layout, CONFIG);
    await Plotly.relayout(plot, colors(figure.layout));
    plot.on("plotly_hover", (event) => show(plot, event.points[0]));
    page.after?.(plot, figure);
    fit(plot);
  }

  function fit(plot) {
    const drawn = plot._fullLayout?.width;
    if (drawn && plot.clientWidth && Math.abs(drawn - plot.clientWidth) > 1) Plotly.Plots.resize(plot);
  }

  // The words of the hover label, also below the figure: for screen readers and for fingers.
  function show(plot, point) {
    const trace = figureOf(plot).data[point.curveNumber];
    const [row, column] = Array.isArray(point.pointNumber) ? point.pointNumber : [point.pointNumber];
    const pick = (values) => (column === undefined ? values?.[row] : values?.[row]?.[column]);
    const values = { x: point.x, y: point.y, z: point.z, text: pick(trace.text), customdata: pick(trace.customdata) };
    const number = (value) =>
      value !== 0 && Math.abs(value) < 1e-3 ? value.toExponential(3) : String(Number(value.toPrecision(4)));
    const words = (trace.hovertemplate || "")
      .replace(/<extra>.*$/, "")
      .replaceAll("<br>", " · ")
      .replace(/%\{(\w+)(?:\[(\d)\])?(?::[^}]*)?\}/g, (_, name, at) => {
        const value = at === undefined ? values[name] : values[name]?.[at];
        return typeof value === "number" ? number(value) : (value ?? "");
      });
    const plain = UNESCAPE.reduce((all, [safe, sign]) => all.replaceAll(safe, sign), words);
    plot.closest("figure").querySelector(".readout").textContent = plain;
    page.hovered?.(plot, point, trace);
  }

  // Arrow keys move over the cells of a heat map, or along a curve and from curve to curve.
  const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 0], ArrowDown: [-1, 0] };
  function move(event) {
    const step = STEPS[event.key];
    const plot = event.currentTarget;
    const { data: traces, layout } = figureOf(plot);
    if (!step || event.altKey || event.ctrlKey || event.metaKey || !plot.drawn) return;
    const seen = traces.findIndex((trace) => trace.visible !== false);
    const grid = traces[seen].type === "heatmap";
    const rows = grid ? traces[seen].z.length : traces.length;
    if (!rows) return;
    event.preventDefault();
    const sign = layout.yaxis.autorange === "reversed" ? -1 : 1;
    const here = plot.here || [grid ? -1 : 0, -1];
    const row = Math.min(rows - 1, Math.max(0, here[0] + sign * step[0]));
    const columns = grid ? traces[seen].z[row].length : traces[row].y.length;
    const column = Math.min(columns - 1, Math.max(0, here[1] + step[1]));
    plot.here = [row, column];
    const point = grid ? { curveNumber: seen, pointNumber: [row, column] } : { curveNumber: row, pointNumber: column };
    Plotly.Fx.hover(plot, [grid ? { curveNumber: seen, xval: column, yval: row } : point]);
    const trace = traces[point.curveNumber];
    show(plot, {
      ...point,
      x: grid ? (trace.x?.[column] ?? column) : trace.x[column],
      y: grid ? trace.y[row] : trace.y[column],
      z: grid ? trace.z[row][column] : undefined,
    });
  }

  // A box that is wider than its place says where it goes on.
  function overflow(box) {
    box.classList.toggle("more-left", box.scrollLeft > 2);
    box.classList.toggle("more-right", box.scrollLeft + box.clientWidth < box.scrollWidth - 2);
  }

  function start(hooks) {
    page = hooks;
    const sized = new ResizeObserver((boxes) => boxes.forEach(({ target }) => overflow(target)));
    for (const box of document.querySelectorAll(".scroll, .table")) {
      box.addEventListener("scroll", () => overflow(box), { passive: true });
      sized.observe(box);
    }
    for (const plot of plots) plot.addEventListener("keydown", move);
    dark.addEventListener("change", () => {
      for (const plot of plots.filter((plot) => plot.drawn)) Plotly.relayout(plot, colors(figureOf(plot).layout));
    });
    addEventListener("beforeprint", () => plots.forEach(draw));
    const observer = new IntersectionObserver(
      (seen) => seen.filter((entry) => entry.isIntersecting).forEach((entry) => draw(entry.target)),
      { rootMargin: "500px" },
    );
    // Plotly follows the window only: a scroll bar that appears, or a window that changes during the drawing, is missed.
    const fitted = new ResizeObserver((seen) => seen.forEach(({ target }) => fit(target)));
    for (const plot of plots) {
      observer.observe(plot);
      fitted.observe(plot);
    }
  }

  return { CONFIG, data, plots, figureOf, start };
})();
