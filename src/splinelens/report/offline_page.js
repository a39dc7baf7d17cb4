// What all pages share: colours of the scheme, the words of a point below its picture, arrow keys.
"use strict";
const Pictures = (() => {
  // A label never becomes markup, and its direction of writing ends with it.
  const PAIRS = [["&", "&amp;"], ["<", "&lt;"], [">", "&gt;"], ["%{", "%\u2060{"]];

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

  const config = () => ({
    responsive: true,
    displayModeBar: false, // it has a button that sends data to a server
    doubleClick: "reset",
  });

  // The words of the hover label, also below the picture: for screen readers and for fingers. Gives the trace.
  function told(plot, figure, point) {
    const trace = figure.data[point.curveNumber];
    const [row, column] = Array.isArray(point.pointNumber) ? point.pointNumber : [point.pointNumber];
    const pick = (values) => (column === undefined ? values?.[row] : values?.[row]?.[column]);
    const found = { x: point.x, y: point.y, z: point.z, text: pick(trace.text), customdata: pick(trace.customdata) };
    const said = (trace.hovertemplate || "")
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
    return trace;
  }

  // Arrow keys walk over the cells of a heat map, or along a curve and from curve to curve.
  const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [1, 0], ArrowDown: [-1, 0] };
  function step(event, { data, layout }, tell) {
    const move = STEPS[event.key];
    const plot = event.currentTarget;
    if (!move || event.altKey || event.ctrlKey || event.metaKey || !plot.drawn) return;
    const seen = data.findIndex((trace) => trace.visible !== false);
    const grid = data[seen].type === "heatmap";
    const rows = grid ? data[seen].z.length : data.length;
    if (!rows) return;
    event.preventDefault();
    const sign = layout.yaxis.autorange === "reversed" ? -1 : 1;
    const here = plot.here || [grid ? -1 : 0, -1];
    const row = Math.min(rows - 1, Math.max(0, here[0] + sign * move[0]));
    const columns = grid ? data[seen].z[row].length : data[row].y.length;
    const column = Math.min(columns - 1, Math.max(0, here[1] + move[1]));
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

  return { PAIRS, colours, config, told, step };
})();
