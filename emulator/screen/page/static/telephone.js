// A telephone: it shows what the server tells of the screen, and sends what the
// person does. What is typed is in `typed` or in the one input until it is sent
// or the prompt is gone.
import { takeTurns } from "./tabs.js";
import { translate, word } from "./words.js";
import * as view from "./view.js";

const here = location.pathname.replace(/\/+$/, "");
const off = document.body.dataset.off === "true";

let told = { prompt: null, note: null, menu: { title: "", items: [] } };
let connected = false;
let trouble = ""; // why it is not, once that is known
let answered = ""; // the prompt that this page has replied to
let typed = "";
let marked = 0; // the line of a list that had the focus last
let menuOpen = false;
let said = null; // what is said for a few seconds: its text, and whether the card said it
let noted = ""; // the note that was said last
let waiting = false; // for the card to go on
let timers = {};
let drawn = ""; // what draw last showed

const prompt = () => (told.prompt && told.prompt.id !== answered ? told.prompt : null);
const asksDigits = () => prompt()?.kind === "ask" && prompt().digits;

// showing names what is on the screen now.
function showing() {
  if (prompt()) return { choose: "list" }[prompt().kind] ?? prompt().kind;
  if (menuOpen) return "list";
  if (said) return "note";
  if (waiting) return "wait";
  return off ? "off" : "idle";
}

// softKeys are what the two keys under the screen say and do.
function softKeys(now) {
  const cancel = [word.cancel, () => reply({ result: "cancel" })];
  switch (now) {
    case "idle": return [[word.menu, hasMenu() ? openMenu : null], null];
    case "show": return [[word.ok, () => reply({ result: "ok" })], cancel];
    case "ask": return [[word.ok, enough() ? sendTyped : null], cancel];
    case "list": return [[word.select, () => view.items()[marked]?.click()], menuOpen ? [word.back, closeMenu] : cancel];
    case "note": return [[word.ok, unsay], null];
  }
  return [null, null];
}

function enough() {
  const { min = 0, max } = prompt();
  const n = asksDigits() ? typed.length : [...view.line.value].length;
  return n >= min && n <= max;
}

// draw brings the page up to date. Only another screen is drawn anew, so that
// focus and typing stay when the same is told again.
function draw() {
  const now = showing();
  const about = { show: prompt(), ask: prompt(), note: said?.text, list: prompt() ? { title: prompt().text, items: prompt().items ?? [] } : told.menu }[now];
  const mark = JSON.stringify([now, prompt()?.id, about]);
  const another = mark !== drawn;
  if (another) {
    drawn = mark;
    typed = "";
    marked = 0;
    view.forget();
    view.draw(now, about);
  }
  if (asksDigits()) view.drawDigits(prompt(), typed);
  view.drawStrip(now === "note" ? "" : (said?.text ?? ""));
  view.drawTrouble(trouble);
  const [left, right] = softKeys(now);
  view.drawKey(view.keys.left, left?.[0] ?? "", connected && Boolean(left?.[1]));
  view.drawKey(view.keys.right, right?.[0] ?? "", connected && Boolean(right?.[1]));
  view.enablePad(connected && Boolean(asksDigits()), connected && typed !== "");
  if (another) view.focus(now);
}

function press(side) {
  const key = softKeys(showing())[side];
  if (connected && key?.[1]) key[1]();
}

function after(name, milliseconds, then) {
  clearTimeout(timers[name]);
  timers[name] = setTimeout(then, milliseconds);
}

function say(text, milliseconds, byCard) {
  said = { text, byCard };
  waiting = false;
  view.announce(text);
  after("said", milliseconds, unsay);
}

function unsay() {
  clearTimeout(timers.said);
  said = null;
  draw();
}

function wait() {
  waiting = true;
  after("waiting", 4000, () => {
    waiting = false;
    draw();
  });
}

// receive takes what the server tells.
function receive(next) {
  const before = prompt();
  told = next;
  connected = true;
  trouble = "";
  const now = prompt();
  if (next.note && next.note.id !== noted) {
    noted = next.note.id;
    say(next.note.text, next.note.for, true);
  }
  if (now && now.id !== before?.id) {
    menuOpen = waiting = false;
    if (!said?.byCard) said = null;
    view.announce([now.text, ...(now.items ?? []).map((item) => item.text)].join("\n"));
  } else if (before && !now && !said) {
    say(word.ended, 3000);
  }
  menuOpen &&= hasMenu();
  draw();
}

// post sends to the server and returns the status; 0: it could not be reached.
async function post(to, body) {
  try {
    const response = await fetch(here + to, { method: "POST", headers: { "Content-Type": "application/json" }, body: JSON.stringify(body) });
    return response.status;
  } catch {
    return 0;
  }
}

async function reply(body) {
  const id = prompt().id;
  answered = id;
  said = null;
  if (body.result === "cancel") say(word.cancelled, 2000);
  else wait();
  draw(); // forgets what was typed
  const status = await post("/reply", { prompt: id, ...body });
  if (status === 204) return;
  waiting = false;
  if (status === 409) {
    say(word.ended, 3000);
  } else {
    if (answered === id) answered = ""; // it is still to be replied to
    say(word.unsent, 4000);
  }
  draw();
}

function sendTyped() {
  reply({ result: "ok", typed: asksDigits() ? typed : view.line.value });
}

const hasMenu = () => told.menu.items.length > 0;

function openMenu() {
  menuOpen = connected && hasMenu();
  unsay();
}

function closeMenu() {
  menuOpen = false;
  draw();
}

async function choose(item) {
  if (!menuOpen) {
    reply({ result: "ok", item });
    return;
  }
  menuOpen = false;
  said = null;
  wait();
  draw();
  const status = await post("/select", { item });
  if (status === 204) return;
  say(status === 409 ? word.busy : word.unsent, 4000);
  draw();
}

function type(digit) {
  if (!asksDigits() || !connected || typed.length >= prompt().max) return;
  typed += digit;
  draw();
}

function erase() {
  typed = typed.slice(0, -1);
  draw();
}

// move puts the focus on another line of a list.
function move(to) {
  const all = view.items();
  all[(to + all.length) % all.length]?.focus();
}

function arrow(key) {
  if (showing() !== "list") {
    if (showing() === "show") view.scroll({ ArrowUp: -48, ArrowDown: 48 }[key] ?? 0);
    return;
  }
  move({ ArrowUp: marked - 1, ArrowDown: marked + 1, Home: 0, End: -1 }[key]);
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.altKey || event.metaKey || event.isComposing) return;
  const inLine = event.target === view.line;
  const onKey = event.target.closest?.("button, a");
  if (event.repeat && (event.key === "Enter" || event.key === "Escape")) {
    event.preventDefault(); // a key that is held is not a second answer
  } else if (event.key === "Escape") {
    press(showing() === "note" ? 0 : 1);
  } else if (event.key === "Enter") {
    if (onKey) onKey.click();
    else press(0);
  } else if (/^[0-9]$/.test(event.key) && asksDigits()) {
    type(event.key);
  } else if (event.key === "Backspace" && asksDigits()) {
    erase();
  } else if (event.code === "KeyM" && /^(idle|note)$/.test(showing())) {
    openMenu();
  } else if (/^(ArrowUp|ArrowDown|Home|End)$/.test(event.key) && !inLine) {
    arrow(event.key);
  } else {
    return;
  }
  event.preventDefault();
});

// Enter counts as it goes down: what comes of it later may find the focus on the
// next screen's key already.
document.addEventListener("keypress", (event) => {
  if (event.key === "Enter") event.preventDefault();
});

view.keys.left.addEventListener("click", () => press(0));
view.keys.right.addEventListener("click", () => press(1));
view.keys.delete.addEventListener("click", erase);
view.keys.pad.addEventListener("click", (event) => {
  const digit = event.target.closest("[data-digit]")?.dataset.digit;
  if (digit) type(digit);
});
// A key that is pressed with a pointer does not take the focus: Enter is OK after it.
view.keys.pad.addEventListener("mousedown", (event) => event.preventDefault());
view.line.addEventListener("input", draw);
document.getElementById("items").addEventListener("click", (event) => {
  const item = event.target.closest("[data-item]")?.dataset.item;
  if (item && connected) choose(Number(item));
});
document.getElementById("items").addEventListener("focusin", (event) => {
  marked = view.items().indexOf(event.target);
});

// listen follows the screen. EventSource reconnects by itself, unless the server
// answered with an error.
let source = null;

function listen() {
  hangUp();
  source = new EventSource(`${here}/events`);
  source.onmessage = (event) => receive(JSON.parse(event.data));
  source.onerror = () => {
    disconnect(word.lost);
    if (source.readyState === EventSource.CLOSED) after("listen", 2000, listen);
  };
}

function disconnect(why) {
  connected = false;
  trouble = why;
  draw();
}

function hangUp() {
  clearTimeout(timers.listen);
  source?.close();
}

// A page that the browser keeps to go back to is not looked at.
addEventListener("pagehide", () => {
  hangUp();
  typed = view.line.value = "";
});
addEventListener("pageshow", (event) => {
  if (!event.persisted) return;
  disconnect(word.lost);
  listen();
});

translate();
view.drawClock();
setInterval(view.drawClock, 1000);
draw();
listen();
takeTurns(() => {
  hangUp();
  disconnect(word.paused);
}, listen);
