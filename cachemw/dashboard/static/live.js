// Makes an open page follow what happens. Without it every page can be read, and reloaded.
//
// Regions marked data-live are replaced by what the feed sends for their id: markup made by the
// same functions as the page itself. A region that somebody is using (focus, selection) is left alone.
"use strict";

const PERIOD = 2000;
const feed = document.body.dataset.feed;
const state = document.getElementById("pulse");
const markup = window.trustedTypes
  ? window.trustedTypes.createPolicy("cachemw", { createHTML: (text) => text })
  : { createHTML: (text) => text };

let paused = false;
let timer = 0;
let failures = 0;

function isInUse(region) {
  const selection = document.getSelection();
  return (
    (region.contains(document.activeElement) && document.activeElement !== region) ||
    (selection && !selection.isCollapsed && region.contains(selection.anchorNode))
  );
}

function replace(region, text) {
  if (region.dataset.shown === text || isInUse(region)) return;
  const open = [...region.querySelectorAll("details[open][id]")].map((one) => one.id);
  const scrolled = [...region.querySelectorAll(".scroll")].map((one) => one.scrollLeft);
  region.innerHTML = markup.createHTML(text);
  region.dataset.shown = text;
  for (const id of open) document.getElementById(id)?.setAttribute("open", "");
  region.querySelectorAll(".scroll").forEach((one, i) => (one.scrollLeft = scrolled[i] ?? 0));
}

function say(kind, text) {
  state.dataset.state = kind;
  state.querySelector("span").textContent = text;
}

async function refresh() {
  const answer = await fetch(feed, { cache: "no-store", headers: { accept: "application/json" } });
  if (!answer.ok) throw new Error(String(answer.status));
  const { at, parts } = await answer.json();
  for (const [id, text] of Object.entries(parts)) {
    const region = document.getElementById(id);
    if (region) replace(region, text);
  }
  document.body.dataset.refreshed = String(Number(document.body.dataset.refreshed || 0) + 1);
  say("live", `Live, ${at}`);
}

async function turn() {
  clearTimeout(timer);
  if (paused || document.hidden) return;
  try {
    await refresh();
    failures = 0;
  } catch {
    failures += 1;
    say("lost", "No answer, trying again");
  }
  timer = setTimeout(turn, PERIOD * Math.min(2 ** failures, 8));
}

function pauseButton() {
  const button = document.createElement("button");
  button.type = "button";
  button.textContent = "Pause";
  button.addEventListener("click", () => {
    paused = !paused;
    button.textContent = paused ? "Resume" : "Pause";
    if (paused) say("paused", "Paused");
    else turn();
  });
  state.append(button);
}

// What counts down between two refreshes: data-left is the number of seconds left when it was made.
const seen = new WeakMap();

function countDown() {
  const now = performance.now();
  for (const one of document.querySelectorAll("[data-left]")) {
    if (!seen.has(one)) seen.set(one, now);
    const left = Number(one.dataset.left) - (now - seen.get(one)) / 1000;
    one.textContent = left > 0 ? clock(left) : one.dataset.after || "over";
  }
}

function clock(seconds) {
  const whole = Math.ceil(seconds);
  const parts = [Math.floor(whole / 3600), Math.floor(whole / 60) % 60, whole % 60];
  const [h, m, s] = parts.map((part) => String(part).padStart(2, "0"));
  return whole >= 3600 ? `${h}:${m}:${s}` : `${m}:${s}`;
}

countDown();
setInterval(countDown, 1000);
if (feed) {
  pauseButton();
  document.addEventListener("visibilitychange", turn);
  timer = setTimeout(turn, PERIOD);
  say("live", "Live");
}
