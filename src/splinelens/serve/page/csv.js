// A CSV file scored row by row: parsed here, sent in small requests, and offered as a download with the results.

import { judge, post, Problem, scoresOf, served } from "./server.js";

const MAX_BYTES = 50 * 2 ** 20;
const SHOWN = 20; // rows of the table on the page; the download has all
const TRIES = 3; // when the server cannot be reached
const LIKELY = /^(text|comment(_text)?|content|body|message|sentence|prompt|post|tweet)$/i;

const at = (id) => document.getElementById(id);
let file = null; // name, delimiter, columns, rows; results and reasons by row
let running = null; // an AbortController

export async function open(chosen, tell) {
  at("file-problem").hidden = true;
  try {
    if (running) throw new Problem("Another file is being scored. Please wait, or cancel it.");
    file = await parsed(chosen);
  } catch (error) {
    if (!(error instanceof Problem)) throw error;
    at("file-problem").textContent = error.message;
    at("file-problem").hidden = false;
    return;
  }
  const likely = file.columns.findIndex((name) => LIKELY.test(name.trim()));
  const lengths = file.columns.map((_, column) => file.rows.slice(0, 100).reduce((sum, row) => sum + row[column].length, 0));
  at("column").replaceChildren(...file.columns.map((name, column) => new Option(name || `column ${column + 1}`, column)));
  at("column").value = likely >= 0 ? likely : lengths.indexOf(Math.max(...lengths));
  at("file-name").textContent = `${file.name}: ${count(file.rows.length, "row")}, ${count(file.columns.length, "column")}`;
  at("job").hidden = false;
  reset();
  tell(`${file.name} is loaded. Choose the text column, then score it.`);
}

function reset() {
  file.results = file.rows.map(() => null);
  file.reasons = file.rows.map(() => null);
  const first = file.rows.find((row) => row[at("column").value].trim());
  at("sample").textContent = first ? `For example: “${clipped(first[at("column").value], 120)}”` : "This column is empty.";
  for (const id of ["progress", "download", "rows"]) at(id).hidden = true;
  at("file-summary").textContent = "";
  at("start").hidden = false;
  at("start").classList.add("primary");
  at("start").textContent = `Score ${count(file.rows.length, "row")}`;
}

// Scores the rows that have no result yet: all at first, later those that failed.
export async function start(onKey) {
  running = new AbortController();
  const { signal } = running;
  const column = at("column").value;
  const waiting = file.results.flatMap((result, row) => (result ? [] : [row]));
  for (const row of waiting) file.reasons[row] = null;
  for (const id of ["start", "download"]) at(id).hidden = true;
  for (const id of ["cancel", "progress"]) at(id).hidden = false;
  at("column").disabled = true;
  at("file-summary").textContent = "";
  at("progress").firstElementChild.value = 0;
  at("progress-text").textContent = "Starting …";
  const started = performance.now();
  let done = 0;
  try {
    for (const rows of requests(waiting, column)) {
      await scoreRows(rows, column, signal);
      done += rows.length;
      showProgress(done, waiting.length, (performance.now() - started) / 1000);
    }
  } catch (error) {
    if (!(error instanceof Problem) && error.name !== "AbortError") throw error;
    const reason = error instanceof Problem ? error.message : "canceled before it was scored";
    for (const row of waiting) if (!file.results[row]) file.reasons[row] ??= reason;
    if (error.status === 401) onKey(error.message);
  }
  running = null;
  at("column").disabled = false;
  at("cancel").hidden = true;
  finish();
}

export function cancel() {
  running?.abort();
}

// Rows in requests within the limits of the server.
function* requests(waiting, column) {
  const { texts, body_bytes: bytes } = served.limits;
  let [batch, size] = [[], 0];
  for (const row of waiting) {
    const more = 6 * file.rows[row][column].length; // a character is at most 6 bytes of JSON
    if (batch.length && (batch.length === texts || size + more > bytes / 2)) {
      yield batch;
      [batch, size] = [[], 0];
    }
    batch.push(row);
    size += more;
  }
  if (batch.length) yield batch;
}

// One request; when the server refuses it, one for each row, so that a row fails by itself.
async function scoreRows(rows, column, signal) {
  const texts = rows.map((row) => file.rows[row][column]);
  try {
    const answer = await persistent({ texts }, signal);
    rows.forEach((row, index) => (file.results[row] = answer.results[index]));
  } catch (error) {
    if (![400, 413].includes(error.status)) throw error;
    if (rows.length > 1) for (const row of rows) await scoreRows([row], column, signal);
    else file.reasons[rows[0]] = error.message;
  }
}

// Waits as long as a busy server says, and tries a few times when it cannot be reached.
async function persistent(body, signal) {
  for (let failures = 0; ; ) {
    try {
      return await post("v1/score", body, signal);
    } catch (error) {
      if (!(error instanceof Problem)) throw error;
      const lost = error.status === 0 || error.status >= 500;
      if (error.retryAfter === null && !lost) throw error;
      if (lost && ++failures === TRIES) throw error;
      const seconds = error.retryAfter ?? failures;
      at("progress-text").textContent = `${error.message} Trying again in ${seconds} s.`;
      await pause(1000 * seconds, signal);
    }
  }
}

function pause(milliseconds, signal) {
  return new Promise((resolve, reject) => {
    const timer = setTimeout(resolve, milliseconds);
    signal.addEventListener("abort", () => (clearTimeout(timer), reject(signal.reason)), { once: true });
  });
}

function showProgress(done, all, seconds) {
  const left = Math.ceil(((all - done) * seconds) / done);
  at("progress").firstElementChild.value = done / all;
  at("progress-text").textContent =
    `${done.toLocaleString("en")} of ${count(all, "row")} · ${Math.round(done / seconds)} rows/s · ${left} s left`;
}

// Shows the results at the thresholds of now; called again when a slider moves.
export function finish() {
  if (!file || running || !file.results.some(Boolean) && !file.reasons.some(Boolean)) return;
  const names = Object.keys(served.detectors);
  const failed = file.reasons.filter(Boolean).length;
  const counts = names.map((name) => {
    const verdicts = {};
    for (const result of file.results) {
      if (!result) continue;
      const { verdict } = judge(name, result[name]);
      verdicts[verdict] = (verdicts[verdict] ?? 0) + 1;
    }
    const words = Object.entries(verdicts).map(([verdict, rows]) => `${rows.toLocaleString("en")} ${verdict}`);
    return `${name}: ${words.join(", ") || "nothing scored"}`;
  });
  const rest = failed ? ` ${count(failed, "row")} could not be scored; the download says why.` : "";
  at("file-summary").textContent = `${counts.join(". ")}.${rest}`;
  at("start").hidden = !failed;
  at("start").classList.remove("primary");
  at("start").textContent = `Try ${count(failed, "row")} again`;
  at("progress").hidden = true;
  showRows(names);
  at("download").hidden = false;
}

export function download() {
  const link = document.createElement("a");
  link.href = URL.createObjectURL(new Blob([output(Object.keys(served.detectors))], { type: "text/csv" }));
  link.download = file.name.replace(/(\.\w+)?$/, ".scored.csv");
  link.click();
  setTimeout(() => URL.revokeObjectURL(link.href), 60_000);
}

function showRows(names) {
  const column = at("column").value;
  const order = file.rows.map((_, row) => row).filter((row) => file.reasons[row]).slice(0, SHOWN / 2);
  for (let row = 0; row < file.rows.length && order.length < SHOWN; row++) if (file.results[row]) order.push(row);
  const line = (tag, cells) => {
    const made = document.createElement("tr");
    for (const text of cells) made.append(Object.assign(document.createElement(tag), { textContent: text }));
    return made;
  };
  at("rows").querySelector("thead").replaceChildren(line("th", ["Row", "Text", ...names]));
  at("rows").querySelector("tbody").replaceChildren(
    ...order.map((row) => {
      const result = file.results[row];
      const cells = names.map((name) => {
        if (!result) return "not scored";
        const { verdict } = judge(name, result[name]);
        return result[name].score === null ? verdict : `${verdict} ${result[name].score.toFixed(3)}`;
      });
      const made = line("td", [row + 1, clipped(file.rows[row][column], 90), ...cells]);
      const reason = file.reasons[row] ?? reasonOf(names, result);
      if (reason) made.cells[1].append(Object.assign(document.createElement("small"), { textContent: reason }));
      return made;
    }),
  );
  at("rows").hidden = false;
}

// The file with its columns, and behind them verdict and scores of each detector and the reasons.
function output(names) {
  const labels = names.flatMap((name) => served.detectors[name].labels.map((label) => [name, label]));
  const columns = [
    ...names.map((name) => `${name}.verdict`),
    ...labels.map(([name, label]) => `${name}.score.${label}`),
    "reason",
  ];
  const lines = file.rows.map((row, index) => {
    const result = file.results[index];
    const verdicts = names.map((name) => (result ? judge(name, result[name]).verdict : "not scored"));
    const scores = labels.map(([name, label]) => (result ? (scoresOf(name, result[name])[label] ?? "") : ""));
    return [...row, ...verdicts, ...scores, file.reasons[index] ?? reasonOf(names, result)];
  });
  const line = (cells) => cells.map(quoted).join(file.delimiter);
  return [[...file.columns, ...columns], ...lines].map(line).join("\r\n") + "\r\n";
}

const reasonOf = (names, result) => {
  const reasons = names.map((name) => judge(name, result[name]).reason).filter(Boolean);
  return [...new Set(reasons)].map((reason) => `the text ${reason}`).join("; ");
};

// A cell that no spreadsheet runs as a formula: https://owasp.org/www-community/attacks/CSV_Injection
function quoted(cell) {
  let text = String(cell);
  const number = /^\s*[+-]?(\d+\.?\d*|\.\d+)(e[+-]?\d+)?\s*$/i;
  if (/^([\t\r\n]|\s*[=+\-@＝＋－＠])/.test(text) && !number.test(text)) text = `'${text}`;
  return /["\r\n,;\t]/.test(text) ? `"${text.replaceAll('"', '""')}"` : text;
}

async function parsed(chosen) {
  if (chosen.size > MAX_BYTES)
    throw new Problem(`${chosen.name} has more than ${MAX_BYTES / 2 ** 20} MB. Use “splinelens score” on it instead.`);
  let text;
  try {
    text = new TextDecoder("utf-8", { fatal: true }).decode(await chosen.arrayBuffer());
  } catch {
    throw new Problem(`${chosen.name} is not UTF-8. Please save it as “CSV UTF-8”.`);
  }
  const delimiter = likelyDelimiter(text);
  const [columns, ...rows] = cellsOf(text, delimiter, chosen.name);
  if (!rows.length) throw new Problem(`${chosen.name} has no rows below its column names.`);
  const width = rows.reduce((most, row) => Math.max(most, row.length), columns.length);
  for (const row of [columns, ...rows]) while (row.length < width) row.push("");
  return { name: chosen.name, delimiter, columns, rows };
}

function likelyDelimiter(text) {
  const first = text.slice(0, text.search(/[\r\n]|$/));
  return [",", ";", "\t"].reduce((best, each) => (first.split(each).length > first.split(best).length ? each : best));
}

// Cells by RFC 4180; empty lines are left out.
function cellsOf(text, delimiter, name) {
  const cell = new RegExp(`"([^"]*(?:""[^"]*)*)"|([^${delimiter}\\r\\n]*)`, "y");
  const rows = [];
  let row = [];
  for (let place = 0; place <= text.length; ) {
    cell.lastIndex = place;
    const [whole, inQuotes, plain] = cell.exec(text);
    row.push(inQuotes === undefined ? plain : inQuotes.replaceAll('""', '"'));
    place += whole.length;
    const next = text[place];
    if (next !== undefined && next !== delimiter && next !== "\r" && next !== "\n" || plain?.startsWith('"'))
      throw new Problem(`${name} has a quotation mark without its partner near row ${rows.length + 1}.`);
    place += text.startsWith("\r\n", place) ? 2 : 1;
    if (next === delimiter) continue;
    if (row.length > 1 || row[0]) rows.push(row);
    row = [];
  }
  return rows;
}

const count = (number, word) => `${number.toLocaleString("en")} ${word}${number === 1 ? "" : "s"}`;
const clipped = (text, most) => (text.length > most ? `${text.slice(0, most)} …` : text);

at("column").addEventListener("change", reset);
