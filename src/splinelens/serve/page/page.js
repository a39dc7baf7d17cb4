// The page of a server: scores the text in the box, and shows verdicts, words, geometry and history.

import * as csv from "./csv.js";
import * as heatmap from "./heatmap.js";
import { fetchInfo, judge, post, Problem, scoresOf, served, thresholds, useKey, useRate } from "./server.js";

const PAUSE_MS = 250; // after the last key
const REMEMBER_MS = 1500; // a text that stays so long goes into the history
const MAX_HISTORY = 50;
const MARKS = { positive: "▲", negative: "✓", undetermined: "?", neutral: "●" };
const STRONGEST = 5;

const at = (id) => document.getElementById(id);
const box = at("text");
const history = []; // text and records, the latest first
let current = null; // text and records that are shown
let request = null; // the AbortController of the newest request; older ones are dropped
let timer = 0;
let rememberTimer = 0;
let retryTimer = 0;
let retry = score; // what "Try again" does

// Scoring

async function score() {
  forgetRequest();
  const text = box.value;
  showProblem(null);
  if (!text) return showResult(null);
  const { signal } = (request = new AbortController());
  document.body.classList.add("waiting");
  try {
    if (!Object.keys(served.detectors).length) await connect();
    const most = served.limits.text_characters;
    if (text.length > 2 * most)
      throw new Problem(`This text is too long: the server reads at most ${most.toLocaleString("en")} characters. Please split it.`);
    const started = performance.now();
    const answer = await post("v1/score", { text, explain: true }, signal);
    const latency = performance.now() - started;
    if (signal.aborted) return;
    showResult({ text, records: answer.results[0] });
    at("latency").textContent = `Answered in ${latency.toFixed(0)} ms`;
    rememberTimer = setTimeout(remember, REMEMBER_MS);
  } catch (error) {
    if (signal.aborted) return;
    showResult(null); // an earlier verdict says nothing about this text
    showProblem(error, score);
  } finally {
    if (!signal.aborted) document.body.classList.remove("waiting");
  }
}

const scoreNow = () => score().then(remember);

function forgetRequest() {
  request?.abort();
  document.body.classList.remove("waiting");
  for (const each of [timer, rememberTimer, retryTimer]) clearTimeout(each);
}

function typed() {
  forgetRequest();
  if (!box.value) score();
  else if (at("typing").checked) timer = setTimeout(score, PAUSE_MS);
  else showResult(null);
}

async function connect() {
  await fetchInfo();
  const names = Object.keys(served.detectors);
  at("served").textContent = `${names.join(", ")} · ${served.model} · version ${served.version}`;
  at("result").querySelector(".detectors").replaceChildren(...names.map(newDetector));
}

// Errors

function showProblem(error, again = score) {
  clearTimeout(retryTimer);
  const problem = at("problem");
  problem.hidden = true;
  if (error === null) return;
  if (!(error instanceof Problem)) {
    problem.hidden = false;
    problem.firstElementChild.textContent = "This page failed. Please load it again.";
    throw error;
  }
  if (error.status === 401) return askForKey(error.message, again);
  retry = again;
  problem.hidden = false;
  const wait = error.retryAfter === null ? "" : ` Trying again in ${error.retryAfter} s.`;
  problem.firstElementChild.textContent = `${error.message}${wait} The text has no verdict yet.`;
  if (wait) retryTimer = setTimeout(again, 1000 * error.retryAfter);
}

function askForKey(message, again = score) {
  retry = again;
  at("key-message").textContent = message;
  at("key-form").hidden = false;
  announce(message);
  if (document.activeElement !== box) at("key").focus();
}

// Verdicts

function newDetector(name) {
  const made = at("detector").content.cloneNode(true).firstElementChild;
  const { labels, task, thresholds: stored } = served.detectors[name];
  made.dataset.name = name;
  made.querySelector("h3").textContent = name;
  made.querySelector(".labels").append(...labels.map((label) => newLabel(name, label)));
  const rates = made.querySelector(".rates");
  rates.setAttribute("aria-label", `Thresholds of ${name} by false-positive rate`);
  rates.hidden = task === "classes";
  for (const rate of Object.keys(Object.values(stored)[0] || {}).sort((one, other) => other - one)) {
    const button = Object.assign(document.createElement("button"), { type: "button", value: rate });
    button.textContent = `${Number((100 * rate).toPrecision(3))} %`;
    button.addEventListener("click", () => (useRate(name, rate), thresholdsMoved()));
    rates.append(button);
  }
  return made;
}

function newLabel(name, label) {
  const made = at("label").content.cloneNode(true).firstElementChild;
  made.dataset.label = label;
  made.querySelector(".name").textContent = label;
  const slider = made.querySelector("input");
  slider.setAttribute("aria-label", `Threshold of ${label}, ${name}`);
  slider.hidden = served.detectors[name].task === "classes";
  slider.addEventListener("input", () => {
    thresholds[name][label] = Number(slider.value);
    thresholdsMoved();
  });
  return made;
}

function showResult(shown) {
  current = shown;
  for (const id of ["result", "geometry"]) at(id).hidden = !shown;
  heatmap.hide();
  at("geometry-start").hidden = false;
  at("geometry-wait").hidden = true;
  if (!shown) {
    at("latency").textContent = "";
    at("announcement").textContent = "";
    return;
  }
  const explained = Object.keys(shown.records).filter((name) => shown.records[name].words);
  const chosen = at("explained").value;
  at("explained").replaceChildren(...explained.map((name) => new Option(nameOf(name, shown.records[name]), name)));
  if (explained.includes(chosen)) at("explained").value = chosen;
  at("explained-choice").hidden = Object.keys(shown.records).length < 2;
  at("explanation").hidden = !explained.length;
  at("geometry").hidden = !Object.values(shown.records).some((record) => record.score !== null);
  if (explained.length) showWords();
  judgeAgain();
}

const nameOf = (name, record) => (record.explained ? `${name}: ${record.explained}` : name);

function thresholdsMoved() {
  judgeAgain();
  csv.finish();
  showHistory();
}

// Verdicts at the thresholds of now.
function judgeAgain() {
  if (!current) return;
  const said = [];
  for (const card of at("result").querySelectorAll(".detector")) {
    const { name } = card.dataset;
    const record = current.records[name];
    const { verdict, kind, fired, reason } = judge(name, record);
    const scores = scoresOf(name, record);
    card.dataset.kind = kind;
    card.querySelector(".mark").textContent = MARKS[kind];
    card.querySelector(".word-of").textContent = verdict;
    card.querySelector(".reason").hidden = !reason;
    card.querySelector(".reason").textContent = reason ? `The text ${reason}. This is no sign that it is safe.` : "";
    for (const line of card.querySelectorAll(".label")) showLabel(line, scores[line.dataset.label], name, fired);
    for (const button of card.querySelectorAll(".rates button")) {
      const stored = Object.entries(served.detectors[name].thresholds);
      const used = stored.every(([label, byRate]) => byRate[button.value] === thresholds[name][label]);
      button.setAttribute("aria-pressed", used);
    }
    said.push(`${name}: ${verdict}${record.score === null ? "" : `, score ${record.score.toFixed(2)}`}`);
  }
  const announcement = `${said.join(". ")}.`;
  if (at("announcement").textContent !== announcement) at("announcement").textContent = announcement;
}

function showLabel(line, value, name, fired) {
  const { label } = line.dataset;
  const limit = thresholds[name][label];
  const slider = line.querySelector("input");
  line.classList.toggle("fired", fired.includes(label));
  line.querySelector(".value").textContent = value === undefined ? "none" : value.toFixed(3);
  line.querySelector(".fill").style.setProperty("--score", value ?? 0);
  if (slider.hidden) return;
  slider.value = limit;
  slider.setAttribute("aria-valuetext", limit.toFixed(3));
  const side = value === undefined ? "" : value >= limit ? `${MARKS.positive} at or above the ` : "below the ";
  line.querySelector(".comparison").textContent = `${side}threshold ${limit.toFixed(3)}`;
}

// Words

// The server counts characters by code points, JavaScript by UTF-16 units.
const cut = (characters, begin, end) => characters.slice(begin, end).join("");

function showWords() {
  const record = current.records[at("explained").value];
  const characters = Array.from(current.text);
  const most = record.words.reduce((most, word) => Math.max(most, Math.abs(word.contribution)), 1e-9);
  const parts = [];
  let place = 0;
  for (const { begin, end, contribution } of record.words) {
    const word = Object.assign(document.createElement("span"), { textContent: cut(characters, begin, end) });
    word.className = contribution > 0 ? "word for" : "word against";
    word.style.setProperty("--strength", Math.abs(contribution) / most);
    word.title = `${signed(contribution)} to the logit of the score`;
    parts.push(cut(characters, place, begin), word);
    place = end;
  }
  const rest = cut(characters, place);
  if (record.cut) {
    const unread = Object.assign(document.createElement("span"), { className: "unread", textContent: rest });
    parts.push(unread, " (not read)");
  } else parts.push(rest);
  at("explanation").querySelector(".words").replaceChildren(...parts);
  at("strongest").textContent = strongest(record.words, characters);
}

function strongest(words, characters) {
  const sorted = [...words].sort((one, other) => Math.abs(other.contribution) - Math.abs(one.contribution));
  const list = (sign) =>
    sorted
      .filter(({ contribution }) => sign * contribution > 0)
      .slice(0, STRONGEST)
      .map((word) => `${cut(characters, word.begin, word.end).replace(/\p{P}+$/u, "")} ${signed(word.contribution)}`)
      .join(", ") || "none";
  return `Raise it most: ${list(1)}. Lower it most: ${list(-1)}.`;
}

const signed = (number) => `${number < 0 ? "−" : "+"}${Math.abs(number).toFixed(2)}`;

// Geometry

async function showGeometry() {
  const { text } = current;
  const wait = at("geometry-wait");
  const signal = request.signal;
  at("geometry-start").hidden = true;
  wait.hidden = false;
  wait.textContent = "Reading every token at every layer. The first time, the server loads the layers: this can take a few minutes.";
  showProblem(null);
  try {
    const answer = await post("v1/geometry", { text }, signal);
    if (signal.aborted) return;
    const characters = Array.from(text);
    heatmap.draw(answer.spans.map(([begin, end]) => cut(characters, begin, end)), answer);
    wait.hidden = true;
  } catch (error) {
    if (signal.aborted) return;
    if (!(error instanceof Problem)) throw error;
    at("geometry-start").hidden = false;
    wait.textContent = error.message;
    if (error.status === 401) askForKey(error.message, showGeometry);
  }
}

// History

function remember() {
  if (!current) return;
  const same = history.findIndex((entry) => entry.text === current.text);
  if (same >= 0) history.splice(same, 1);
  history.unshift(current);
  history.splice(MAX_HISTORY);
  showHistory();
}

function showHistory() {
  at("history").hidden = !history.length;
  at("history").querySelector("ol").replaceChildren(
    ...history.map((entry) => {
      const button = Object.assign(document.createElement("button"), { type: "button" });
      const line = document.createElement("span");
      line.textContent = entry.text.slice(0, 200);
      const verdicts = document.createElement("span");
      verdicts.className = "quiet";
      verdicts.textContent = Object.entries(entry.records)
        .map(([name, record]) => {
          const { verdict, kind } = judge(name, record);
          return `${MARKS[kind]} ${verdict}${record.score === null ? "" : ` ${record.score.toFixed(3)}`}`;
        })
        .join(" · ");
      button.append(line, verdicts);
      button.addEventListener("click", () => {
        box.value = entry.text;
        score();
        box.focus();
      });
      const item = document.createElement("li");
      item.append(button);
      return item;
    }),
  );
}

// Controls

box.addEventListener("input", typed);
at("score").addEventListener("click", scoreNow);
at("clear").addEventListener("click", () => {
  box.value = "";
  score();
  box.focus();
});
at("problem").querySelector("button").addEventListener("click", () => retry());
at("key-form").addEventListener("submit", (event) => {
  event.preventDefault();
  useKey(at("key").value.trim());
  at("key").value = "";
  at("key-form").hidden = true;
  retry();
});
at("explained").addEventListener("change", showWords);
at("geometry-start").querySelector("button").addEventListener("click", showGeometry);
at("forget").addEventListener("click", () => {
  history.length = 0;
  showHistory();
  box.focus();
});
document.addEventListener("keydown", (event) => {
  if (event.key === "Escape" && !event.isComposing) box.focus();
  if (event.key !== "Enter" || !(event.ctrlKey || event.metaKey)) return;
  event.preventDefault();
  scoreNow();
});

// Files

const drop = at("drop");
const announce = (words) => (at("announcement").textContent = words);
async function openFile(file) {
  if (!file) return;
  try {
    if (!Object.keys(served.detectors).length) await connect();
  } catch (error) {
    return showProblem(error, () => openFile(file));
  }
  await csv.open(file, announce);
}
const startFile = () => csv.start((message) => askForKey(message, startFile));
at("choose").addEventListener("click", () => at("file").click());
at("file").addEventListener("change", () => {
  openFile(at("file").files[0]);
  at("file").value = ""; // the same file may be chosen again
});
at("start").addEventListener("click", startFile);
at("cancel").addEventListener("click", csv.cancel);
at("download").addEventListener("click", csv.download);
// Anywhere on the page: a file that is dropped beside the box would replace the page.
for (const kind of ["dragenter", "dragover", "dragleave", "drop"])
  document.addEventListener(kind, (event) => {
    if (![...event.dataTransfer.types].includes("Files")) return;
    event.preventDefault();
    drop.classList.toggle("over", kind.startsWith("dragen") || kind === "dragover");
    if (kind === "drop") openFile(event.dataTransfer.files[0]);
  });

connect().catch((error) => {
  at("served").textContent = "The server does not answer.";
  showProblem(error, () => (connect().then(score, showProblem)));
});
if (matchMedia("(pointer: fine)").matches) box.focus();
