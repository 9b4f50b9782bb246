// The buttons of the tour: sends their requests, and shows what came of each. The log and the state
// of the store come from the server; everything else is read from the responses' own headers.
"use strict";

const reasons = JSON.parse(document.body.dataset.reasons);
const $ = (selector, within = document) => within.querySelector(selector);
const FIRST = ["cache-status", "ratelimit", "retry-after", "age", "etag", "cache-control", "vary"];
const PLAIN = new Set(["date", "server", "connection", "keep-alive"]);
const SLOW = 700; // milliseconds that fill a bar

function make(tag, attributes = {}, ...children) {
  const element = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) {
    if (name === "class") element.className = value;
    else if (name === "outcome") element.dataset.outcome = value;
    else element.setAttribute(name, value);
  }
  element.append(...children);
  return element;
}

const pause = (seconds) => new Promise((done) => setTimeout(done, seconds * 1000));

// --- one request

let etag = "";

async function send(ask) {
  const headers = { ...ask.headers };
  if (ask.etag && etag) headers["If-None-Match"] = etag;
  if (ask.body) headers["Content-Type"] = "application/json";
  const url = ask.url
    .replace("{price}", (5 + Math.random() * 10).toFixed(2))
    .replace("{stock}", String(Math.floor(Math.random() * 90) + 1));
  for (const [name, value] of Object.entries(ask.cookies)) {
    document.cookie = `${name}=${value}; path=/more; SameSite=Lax`;
  }
  const keeps = ask.logged_in || Object.keys(ask.cookies).length > 0;
  const started = performance.now();
  const response = await fetch(url, {
    method: ask.method,
    headers,
    body: ask.body,
    cache: "no-store", // the browser's own cache stays out of it
    credentials: keeps ? "same-origin" : "omit",
  });
  const first = performance.now() - started;
  const body = await response.text();
  etag = response.headers.get("etag") || etag;
  return { ask, url, response, body, first, ms: performance.now() - started };
}

function read(answer) {
  const { response } = answer;
  const said = response.headers.get("cache-status") || "";
  const detail = (said.match(/detail=([a-z-]+)/) || [])[1] || "";
  const ttl = (said.match(/ttl=(-?\d+)/) || [])[1];
  let outcome = response.status < 500 ? "answer" : "error";
  if (response.status === 429) outcome = "limited";
  else if (detail === "stale-if-error") outcome = "stale";
  else if (/; hit/.test(said)) outcome = ttl < 0 || detail === "soft-purged" ? "stale" : "hit";
  else if (/; collapsed/.test(said)) outcome = "collapsed";
  else if (/fwd=(bypass|method)/.test(said)) outcome = "bypass";
  else if (/fwd=/.test(said)) outcome = "miss";
  return { outcome, detail, ttl: ttl === undefined ? undefined : Number(ttl), said };
}

const took = (ms) => (ms < 10 ? ms.toFixed(1) : Math.round(ms)) + " ms";

function chip(outcome, status) {
  return make("span", { class: "chip", outcome }, outcome, make("b", {}, String(status)));
}

// --- what is shown of it

function result(answer) {
  const { outcome, detail } = read(answer);
  const bar = make("i");
  const row = make(
    "li",
    { outcome },
    make("span", { class: "url", title: answer.url }, `${answer.ask.method} ${answer.url}`),
    make("span", { class: "meter" }, bar),
    make("span", { class: "ms" }, took(answer.ms)),
    chip(outcome, answer.response.status),
  );
  requestAnimationFrame(() => (bar.style.width = Math.min(100, (answer.ms / SLOW) * 100) + "%"));
  if (detail) {
    row.append(make("span", { class: "why" }, make("code", {}, detail), ": " + (reasons[detail] || "")));
  }
  return row;
}

const STORIES = {
  hit: "Answered from the cache. The app does not know that anybody asked.",
  stale: "Answered at once with what was there; a request in the background makes it anew.",
  miss: "Nothing that could be used, so the app was asked.",
  collapsed: "Waited for the answer to somebody else's request.",
  bypass: "Not for the cache: it went by, to the app.",
  limited: "Turned away at the door. Nothing further in was asked.",
  answer: "No cache policy here: straight to the app.",
  error: "The app, or what it needs, could not answer.",
};
const WAYS = {
  hit: ["limits", "cache", "redis"],
  stale: ["limits", "cache", "redis"],
  collapsed: ["limits", "cache", "redis"],
  miss: ["limits", "cache", "redis", "app", "database"],
  bypass: ["limits", "cache", "app", "database"],
  limited: ["limits"],
  answer: ["limits", "cache", "app"],
  error: ["limits", "cache", "app"],
};

function light(outcome, detail) {
  const path = $(".path");
  path.dataset.outcome = outcome;
  const away = detail === "store-unavailable";
  const way = new Set(["you", ...WAYS[outcome]].filter((node) => !(away && node === "redis")));
  const behind = outcome === "stale" ? new Set(["app", "database"]) : new Set();
  for (const part of path.querySelectorAll("[data-node], [data-edge]")) {
    const name = part.dataset.node || part.dataset.edge;
    part.classList.toggle("lit", way.has(name));
    part.classList.toggle("behind", behind.has(name));
    part.classList.toggle("down", away && name === "redis");
  }
  $(".story").textContent = away
    ? "Redis did not answer, so the app did. Nothing was kept."
    : STORIES[outcome];
}

function show(answer) {
  const { outcome, detail } = read(answer);
  const { status, statusText } = answer.response;
  const list = make("dl");
  const headers = [...answer.response.headers].filter(([name]) => !PLAIN.has(name));
  const rank = (name) => (FIRST.includes(name) ? FIRST.indexOf(name) : FIRST.length);
  headers.sort(([a], [b]) => rank(a) - rank(b) || a.localeCompare(b));
  for (const [name, value] of headers) {
    const kind = name === FIRST[0] || name === FIRST[1] || name === FIRST[2] ? "loud" : "";
    list.append(make("dt", {}, name), make("dd", { class: kind }, value));
  }
  const line = make(
    "div",
    { class: "line" },
    make("span", {}, `${answer.ask.method} ${answer.url}`),
    chip(outcome, `${status} ${statusText}`.trim()),
  );
  const body = answer.body
    ? make("div", { class: "body" }, answer.body.slice(0, 400))
    : make("div", { class: "body" }, "0 bytes");
  $(".response").replaceChildren(line, list, body);
  $(".drawer .last").replaceChildren(chip(outcome, took(answer.ms)), answer.url);
  light(outcome, detail);
}

// --- buttons

for (const button of document.querySelectorAll("[data-asks]")) {
  button.addEventListener("click", () => run(button));
}

async function run(button) {
  const place = button.closest("article");
  const results = $(".results", place);
  const special = $(".special", place);
  button.disabled = true;
  results.replaceChildren();
  try {
    const answers = [];
    for (const ask of JSON.parse(button.dataset.asks)) {
      if (ask.wait) await waiting(results, ask.wait);
      const answer = await send(ask);
      answers.push(answer);
      if (!ask.url.startsWith("/backstage/")) {
        show(answer);
        results.append(result(answer));
      }
      if (special) specials[special.dataset.special](special, answer, answers);
    }
    place.classList.add("done");
    $(`.contents a[href="#${place.id}"]`)?.classList.add("done");
  } catch (error) {
    results.append(make("li", { outcome: "error" }, make("span", { class: "waiting" }, `No answer: ${error.message}`)));
  } finally {
    button.disabled = false;
  }
}

async function waiting(results, seconds) {
  const line = make("span", { class: "waiting" });
  const row = make("li", {}, line);
  results.append(row);
  for (let left = seconds; left > 0; left -= 0.1) {
    line.textContent = `waiting ${left.toFixed(1)} s`;
    await pause(0.1);
  }
  row.remove();
}

// --- widgets of single steps

let countdown = 0;

const specials = {
  countdown(place, answer) {
    const { outcome, ttl } = read(answer);
    const total = 5;
    const left = outcome === "stale" ? 0 : Math.max(0, ttl ?? 0);
    const length = 2 * Math.PI * 20;
    place.innerHTML =
      '<div class="ring"><svg viewBox="0 0 48 48"><circle cx="24" cy="24" r="20"/>' +
      '<circle class="left" cx="24" cy="24" r="20"/></svg><span></span></div>';
    const [ring, circle, words] = [".ring", ".left", "span"].map((one) => $(one, place));
    circle.setAttribute("stroke-dasharray", String(length));
    const until = performance.now() + left * 1000;
    clearInterval(countdown);
    const tick = () => {
      const seconds = Math.max(0, (until - performance.now()) / 1000);
      circle.setAttribute("stroke-dashoffset", String(length * (1 - seconds / total)));
      ring.classList.toggle("old", seconds === 0);
      words.replaceChildren(
        ...(seconds > 0
          ? ["fresh for ", make("b", {}, seconds.toFixed(1)), " s"]
          : ["old: ask now, and it is served at once"]),
      );
      if (seconds === 0) clearInterval(countdown);
    };
    tick();
    countdown = setInterval(tick, 100);
  },

  crowd(place, answer) {
    const { visitors, runs } = JSON.parse(answer.body);
    const dots = make("div", { class: "dots" });
    for (const one of visitors) dots.append(make("i", { outcome: one.outcome, title: `${one.outcome}, ${took(one.ms)}` }));
    const slowest = Math.max(...visitors.map((one) => one.ms));
    const led = visitors.filter((one) => one.outcome === "miss").length;
    const verdict = make(
      "p",
      { class: "verdict" },
      make("b", {}, `${visitors.length} answers, ${runs} ${runs === 1 ? "run" : "runs"} of the handler.`),
      ` ${led} asked the app, ${visitors.length - led} had its answer; the slowest waited ${took(slowest)}.`,
    );
    place.replaceChildren(dots, verdict);
    light("collapsed", "");
  },

  limits(place, answer, answers) {
    const dots = make("div", { class: "dots" });
    for (const one of answers) dots.append(make("i", { outcome: one.response.status === 429 ? "limited" : "hit", title: one.response.status }));
    const verdict = make("p", { class: "verdict" });
    place.replaceChildren(dots, verdict);
    const wait = Number(answer.response.headers.get("retry-after"));
    if (answer.response.status !== 429) {
      const left = (answer.response.headers.get("ratelimit") || "").match(/r=(\d+)/);
      verdict.textContent = left ? `${left[1]} left in this window` : "";
      return;
    }
    const until = performance.now() + wait * 1000;
    clearInterval(place.timer);
    const tick = () => {
      const seconds = Math.max(0, (until - performance.now()) / 1000);
      verdict.textContent = seconds > 0 ? `429: again in ${seconds.toFixed(0)} s` : "The window is over: ask again";
      if (seconds === 0) clearInterval(place.timer);
    };
    tick();
    place.timer = setInterval(tick, 250);
  },

  outage() {
    refresh();
  },

  why() {},
};

// --- the log and the store

function line(entry) {
  if (entry.kind === "said") return make("li", { class: "said" }, entry.text);
  if (entry.kind === "query") {
    return make(
      "li",
      { class: "query" },
      make("span", { class: "word" }, "query"),
      make("span", { class: "what", title: entry.text }, entry.text),
      make("span", { class: "ms" }, took(entry.ms)),
    );
  }
  return make(
    "li",
    { outcome: entry.outcome },
    make("span", { class: "word" }, entry.outcome),
    make("span", { class: "what", title: `${entry.url}\n${entry.text}` }, `${entry.method} ${entry.url}`),
    make("span", { class: "ms" }, took(entry.ms)),
  );
}

const log = $(".log");
let latest = 0;
const source = new EventSource("/backstage/log");
source.onopen = () => {
  latest = 0; // each connection begins with all lines there are, perhaps of another process
  log.replaceChildren();
};
source.onmessage = (event) => {
  const number = Number(event.lastEventId);
  if (number <= latest) return;
  latest = number;
  log.prepend(line(JSON.parse(event.data)));
  while (log.children.length > 200) log.lastChild.remove();
};
addEventListener("pagehide", () => source.close());
$(".clear").addEventListener("click", () => log.replaceChildren());

async function refresh() {
  const badge = $(".store");
  try {
    const state = await (await fetch("/backstage/state", { cache: "no-store" })).json();
    badge.dataset.state = state.store ? "answers" : state.paused ? "frozen" : "away";
    $("span", badge).textContent = { answers: "Redis answers", frozen: "Redis is frozen", away: "Redis is away" }[badge.dataset.state];
  } catch {
    badge.dataset.state = "away";
    $("span", badge).textContent = "no server";
  }
}
refresh();
setInterval(refresh, 3000);

// --- small comforts

for (const copy of document.querySelectorAll(".copy")) {
  copy.addEventListener("click", async () => {
    await navigator.clipboard.writeText($("code", copy.parentElement).textContent);
    copy.textContent = "Copied";
    setTimeout(() => (copy.textContent = "Copy"), 1500);
  });
}

const root = document.documentElement;
root.dataset.theme = localStorage.getItem("theme") || "";
$(".theme").addEventListener("click", () => {
  const dark = root.dataset.theme ? root.dataset.theme === "dark" : matchMedia("(prefers-color-scheme: dark)").matches;
  root.dataset.theme = dark ? "light" : "dark";
  localStorage.setItem("theme", root.dataset.theme);
});

const drawer = $(".drawer");
drawer.addEventListener("click", () => {
  const open = $(".watch").classList.toggle("open");
  drawer.setAttribute("aria-expanded", String(open));
});

if (matchMedia("(max-width: 40rem)").matches) {
  for (const code of document.querySelectorAll(".code")) code.open = false;
}
