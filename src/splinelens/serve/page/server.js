// The server of this page: its detectors and thresholds, requests to it, and its errors in plain words.

export const served = { detectors: {}, limits: { texts: 32, text_characters: 512000, body_bytes: 2 ** 21 } };
export const thresholds = {}; // by detector and label; the sliders move them

let key = ""; // only here: a key is in no storage and in no address

export class Problem extends Error {
  constructor(message, status = 0, retryAfter = null) {
    super(message);
    this.status = status;
    this.retryAfter = retryAfter; // seconds, when it makes sense to ask again
  }
}

export function useKey(value) {
  key = value;
}

export async function fetchInfo() {
  Object.assign(served, await answerOf("info", {}));
  for (const [name, detector] of Object.entries(served.detectors)) {
    const rates = Object.keys(Object.values(detector.thresholds)[0] || {});
    useRate(name, rates.includes("0.05") ? "0.05" : rates.at(-1));
  }
}

export function useRate(name, rate) {
  const stored = Object.entries(served.detectors[name].thresholds);
  thresholds[name] = Object.fromEntries(stored.map(([label, byRate]) => [label, byRate[rate]]));
}

export function post(path, body, signal) {
  const headers = { "Content-Type": "application/json" };
  if (key) headers.Authorization = `Bearer ${key}`;
  return answerOf(path, { method: "POST", headers, body: JSON.stringify(body), signal });
}

async function answerOf(path, options) {
  let answer;
  try {
    answer = await fetch(path, { ...options, cache: "no-store", credentials: "omit" });
    if (answer.ok) return await answer.json();
  } catch (error) {
    if (error.name === "AbortError") throw error;
    throw new Problem("The server cannot be reached. Please check that it is running.");
  }
  const said = await answer.json().then((body) => body.error?.message, () => null);
  const seconds = Number(answer.headers.get("Retry-After")) || 1;
  switch (answer.status) {
    case 401:
      throw new Problem(key ? "The server does not accept this API key." : "This server needs an API key.", 401);
    case 413:
      throw new Problem("The text is too large for one request. Please split it.", 413);
    case 429:
      throw new Problem("The server is busy.", 429, seconds);
    case 503:
      throw new Problem("The server is not ready.", 503, seconds);
    case 400:
      throw new Problem(`The server could not take this text: ${said || "it gave no reason"}.`, 400);
    default:
      throw new Problem(`The server answered with error ${answer.status}. Its log may say why.`, answer.status);
  }
}

// The scores of a record by label; none if the text could not be scored.
export function scoresOf(name, record) {
  if (record.score === null) return {};
  return record.scores ?? { [served.detectors[name].labels[0]]: record.score };
}

// The verdict of a record at the thresholds of the sliders, by the rules of the library.
export function judge(name, record) {
  const { task, negative } = served.detectors[name];
  const scores = scoresOf(name, record);
  const limits = thresholds[name];
  const undetermined = { verdict: "undetermined", kind: "undetermined", fired: [], reason: record.reason };
  const cut = record.cut && (record.verdict !== "undetermined" || record.reason.startsWith("was cut"));
  if (record.verdict === "undetermined" && !cut) return undetermined;
  if (task === "classes") return { verdict: record.verdict, kind: "neutral", fired: [record.verdict], reason: null };
  const fired = Object.keys(scores).filter((label) => scores[label] >= limits[label]);
  fired.sort((one, other) => scores[other] - scores[one]);
  if (fired.length) return { verdict: fired[0], kind: "positive", fired, reason: null };
  if (cut) return { ...undetermined, reason: record.reason ?? "was cut; the rest was not read" };
  return { verdict: negative, kind: "negative", fired, reason: null };
}
