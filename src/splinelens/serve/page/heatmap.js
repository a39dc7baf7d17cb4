// The heat map of a text: a table of tokens by layers, read with the pointer or the arrow keys.

const QUANTITIES = { sign: "share of positive gates", boundary: "distance to the nearest boundary" };
const STEPS = { ArrowLeft: [0, -1], ArrowRight: [0, 1], ArrowUp: [-1, 0], ArrowDown: [1, 0] };

const heat = document.getElementById("heat");
const [head, body] = [heat.querySelector("thead"), heat.querySelector("tbody")];
const readout = document.getElementById("heat-readout");
let drawn = null; // the tokens and the answer that the table shows

export function draw(tokens, answer) {
  drawn = { tokens, answer };
  const corner = cell("th", "token");
  head.replaceChildren(row([corner, ...answer.layers.map((layer) => cell("th", layer))]));
  for (const each of head.querySelectorAll("th")) each.scope = "col";
  body.replaceChildren(
    ...tokens.map((token) => {
      const name = cell("th", token.replaceAll("\n", "⏎").trim() || "␣");
      name.scope = "row";
      return row([name, ...answer.layers.map(() => cell("td", ""))]);
    }),
  );
  color();
  heat.hidden = false;
}

export function hide() {
  heat.hidden = true;
  drawn = null;
}

function color() {
  const quantity = heat.querySelector("input:checked").value;
  const values = drawn.answer[quantity]; // layer, token
  const shown = quantity === "boundary" ? (value) => Math.log10(Math.max(value, smallest(values))) : (value) => value;
  const all = values.flat().map(shown);
  const [low, high] = [all.reduce((a, b) => Math.min(a, b)), all.reduce((a, b) => Math.max(a, b))];
  [...body.rows].forEach((line, token) => {
    values.forEach((ofLayer, layer) => {
      const each = line.cells[layer + 1];
      each.style.setProperty("--heat", high > low ? (shown(ofLayer[token]) - low) / (high - low) : 0);
      each.setAttribute("aria-label", `layer ${drawn.answer.layers[layer]}: ${digits(ofLayer[token])}`);
      each.tabIndex = -1;
    });
  });
  body.rows[0].cells[1].tabIndex = 0;
  const [least, most] = quantity === "boundary" ? [10 ** low, 10 ** high] : [low, high];
  document.getElementById("heat-low").textContent = digits(least);
  document.getElementById("heat-high").textContent =
    digits(most) + (quantity === "boundary" ? ", on a logarithmic scale" : "");
  readout.textContent = "";
}

function read(each) {
  const [token, layer] = [each.parentElement.rowIndex - 1, each.cellIndex - 1];
  const quantity = heat.querySelector("input:checked").value;
  const value = digits(drawn.answer[quantity][layer][token]);
  readout.textContent = `“${drawn.tokens[token].trim()}”, layer ${drawn.answer.layers[layer]}: ${QUANTITIES[quantity]} ${value}`;
}

function move(event) {
  const step = STEPS[event.key];
  const here = event.target.closest("td");
  if (!step || !here || event.altKey || event.ctrlKey || event.metaKey) return;
  event.preventDefault();
  const next = body.rows[here.parentElement.rowIndex - 1 + step[0]]?.cells[here.cellIndex + step[1]];
  if (next?.tagName !== "TD") return;
  here.tabIndex = -1;
  next.tabIndex = 0;
  next.focus();
}

const smallest = (values) => values.flat().reduce((least, value) => (value > 0 && value < least ? value : least), 1);
const digits = (value) => (value !== 0 && value < 1e-3 ? value.toExponential(1) : value.toPrecision(3));

function row(cells) {
  const line = document.createElement("tr");
  line.append(...cells);
  return line;
}

function cell(tag, text) {
  const each = document.createElement(tag);
  each.textContent = text;
  return each;
}

body.addEventListener("keydown", move);
for (const kind of ["focusin", "pointerover", "click"])
  body.addEventListener(kind, (event) => event.target.tagName === "TD" && read(event.target));
heat.addEventListener("change", color);
