// What is on the screen, as elements. Texts come from strangers: they become
// text nodes, never markup.
import { word } from "./words.js";

const $ = (id) => document.getElementById(id);

export const keys = { left: $("left"), right: $("right"), pad: $("pad"), delete: $("delete") };
export const line = $("line");

// codeLine is a text's last line when the card put the verification code there.
const codeLine = /^(Kod|Code|Код): *([0-9]{4})$/;

function span(name, text) {
  const element = document.createElement("span");
  element.className = name;
  element.textContent = text;
  return element;
}

// drawText shows a text as it was given, its code large.
function drawText(text) {
  $("text").classList.toggle("long", text.length > 80);
  const last = text.lastIndexOf("\n") + 1;
  const code = codeLine.exec(text.slice(last));
  if (!code) {
    $("text").replaceChildren(text);
    return;
  }
  const digits = code[0].length - code[2].length;
  const block = span("code", "");
  block.append(span("label", code[0].slice(0, digits)), span("digits", code[2]));
  $("text").replaceChildren(text.slice(0, last), block);
}

function drawItems(title, items) {
  $("title").textContent = title;
  $("items").replaceChildren(...items.map((item) => {
    const button = document.createElement("button");
    button.type = "button";
    button.dir = "auto";
    button.dataset.item = item.id;
    button.textContent = item.text;
    const row = document.createElement("li");
    row.append(button);
    return row;
  }));
}

function range(prompt) {
  const limits = prompt.min === prompt.max ? `${prompt.max}` : `${prompt.min ?? 0}–${prompt.max ?? 0}`;
  return `${limits} ${prompt.digits ? word.digits : word.characters}`;
}

function drawQuestion(prompt) {
  $("question").textContent = prompt.text;
  $("limits").textContent = range(prompt);
  $("dots").hidden = !prompt.digits;
  line.hidden = prompt.digits;
  line.classList.toggle("secret", Boolean(prompt.hidden));
  if (!prompt.digits) drawDigits(prompt, "");
}

// drawDigits shows what was typed, or only how much.
export function drawDigits(prompt, typed) {
  $("count").textContent = prompt.digits && typed ? typed.length : "";
  if (!prompt.hidden) {
    $("dots").replaceChildren(typed);
    return;
  }
  const places = Math.max(typed.length, prompt.min ?? 0);
  $("dots").replaceChildren(...Array.from({ length: places }, (_, i) => span(i < typed.length ? "dot full" : "dot", "")));
}

// draw shows a view anew: one of idle, off, show, ask, list, note and wait.
export function draw(view, about) {
  for (const element of document.querySelectorAll("[data-view]")) element.hidden = element.dataset.view !== view;
  document.body.dataset.showing = view;
  if (view === "show") drawText(about.text);
  if (view === "ask") drawQuestion(about);
  if (view === "list") drawItems(about.title, about.items);
  if (view === "note") $("said").textContent = about;
  $("screen").scrollTop = 0;
}

// forget leaves nothing of what was asked and typed in the page.
export function forget() {
  line.value = "";
  for (const id of ["text", "question", "limits", "dots", "count", "title", "items"]) $(id).replaceChildren();
}

export function drawStrip(text) {
  $("strip").textContent = text;
  $("strip").hidden = !text;
}

// drawTrouble says why the page is not connected.
export function drawTrouble(why) {
  $("trouble").textContent = why;
  $("trouble").hidden = !why;
  $("trouble").classList.toggle("bad", why === word.lost);
}

export function drawKey(key, text, enabled) {
  key.textContent = text;
  key.disabled = !enabled;
}

export function enablePad(digits, erasing) {
  keys.pad.classList.toggle("live", digits);
  for (const key of keys.pad.querySelectorAll("[data-digit]")) key.disabled = !digits;
  keys.delete.disabled = !erasing;
}

// announce has the text read out, also when it is the same as before.
export function announce(text) {
  const element = document.createElement("p");
  element.textContent = text;
  $("live").replaceChildren(element);
}

// focus puts the focus where the view's keys go, so that it is seen and a screen
// reader lets them through.
export function focus(view) {
  const at = { show: keys.left, ask: line.hidden ? $("dots") : line, list: $("items").querySelector("button"), note: keys.left };
  (at[view] ?? $("screen")).focus({ preventScroll: true });
}

export const items = () => [...$("items").querySelectorAll("button")];

export function drawClock() {
  const now = new Date();
  $("clock").textContent = [now.getHours(), now.getMinutes()].map((n) => String(n).padStart(2, "0")).join(":");
}

export const scroll = (by) => $("screen").scrollBy({ top: by });
