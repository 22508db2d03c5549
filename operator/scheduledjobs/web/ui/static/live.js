// Follows a page: asks for it again every two seconds while it is in sight, and changes only what has changed,
// in place, so that focus, scroll, what is open and what is typed stay. An unchanged page is 304, of no cost.
const EVERY = 2000;
let etag = document.body.dataset.etag;
let good = Date.now();
let busy = false;

const skew = (page) => {
  const at = Date.parse(page.getElementById("asof")?.dateTime ?? "");
  if (!Number.isNaN(at)) document.body.dataset.skew = at - Date.now();
};

function attributes(old, made) {
  for (const { name, value } of made.attributes) {
    if (name === "hidden" && "js" in old.dataset) continue;
    if (old.getAttribute(name) !== value) old.setAttribute(name, value);
  }
  for (const { name } of [...old.attributes]) {
    const isOurs = (name === "open" && old.tagName === "DETAILS") || (name === "title" && old.tagName === "TIME");
    if (made.hasAttribute(name) || isOurs) continue;
    old.removeAttribute(name);
  }
}

const isTyped = (node) =>
  (node.tagName === "TEXTAREA" && node.value !== node.defaultValue) || (node.tagName === "SELECT" && node === document.activeElement);

export function change(old, made) {
  if (old.nodeType !== made.nodeType || old.nodeName !== made.nodeName || (old.id ?? "") !== (made.id ?? "")) return old.replaceWith(made);
  if (old.nodeType !== Node.ELEMENT_NODE) { if (old.nodeValue !== made.nodeValue) old.nodeValue = made.nodeValue; return; }
  if (old.isEqualNode(made) || isTyped(old) || "count" in old.dataset) return;
  const tail = "tail" in old.dataset && old.scrollTop + old.clientHeight >= old.scrollHeight - 8;
  attributes(old, made);
  children(old, [...made.childNodes]);
  if (tail) old.scrollTop = old.scrollHeight;
}

/** What a row or section is about, so that it stays the same one wherever it moves: its link, its heading, its id. */
function key(node) {
  if (node.nodeType !== Node.ELEMENT_NODE) return "";
  return node.id || node.getAttribute("aria-labelledby") || (node.tagName === "TR" && node.querySelector("a")?.getAttribute("href")) || "";
}

function children(old, made) {
  const wanted = new Set(made.map(key));
  const there = new Map();
  for (const node of [...old.childNodes]) {
    if (!key(node)) continue;
    if (wanted.has(key(node))) there.set(key(node), node);
    else node.remove();
  }
  let at = old.firstChild;
  for (const node of made) {
    const mine = key(node) ? there.get(key(node)) : at && !key(at) ? at : undefined;
    there.delete(key(node));
    if (!mine) { old.insertBefore(node, at); continue; }
    while (at && at !== mine && !key(at)) { const next = at.nextSibling; at.remove(); at = next; }
    if (at === mine) at = at.nextSibling;
    else old.insertBefore(mine, at); // what has the focus would lose it, so only what truly changed places is moved
    change(mine, node);
  }
  while (at) { const next = at.nextSibling; at.remove(); at = next; }
}

/** Ticked boxes belong to their job, not to their row: rows may move. */
function ticks() { return new Set([...document.querySelectorAll("[name=id]:checked")].map((box) => box.value)); }

function stale(is) {
  const bar = document.getElementById("stale");
  bar.hidden = !is;
  if (is) bar.textContent = `Not updated since ${new Date(good).toLocaleTimeString()}: the server does not answer.`;
}

async function ask(then) {
  const answer = await fetch(location.href, { headers: etag ? { "If-None-Match": etag } : {}, cache: "no-store", redirect: "follow" });
  if (answer.redirected) return location.reload();
  if (answer.status === 304) return seen();
  if (document.querySelector("[data-problem]")) { if (answer.ok) location.reload(); return; }
  if (answer.status === 404) return location.reload();
  if (!answer.ok) throw new Error(answer.status);
  const page = new DOMParser().parseFromString(await answer.text(), "text/html");
  const said = [...document.querySelectorAll("[data-announce]")].map((node) => node.textContent);
  const ticked = ticks();
  change(document.getElementById("main"), page.getElementById("main"));
  change(document.querySelector(".foot"), page.querySelector(".foot"));
  for (const box of document.querySelectorAll("[name=id]")) box.checked = ticked.has(box.value);
  etag = answer.headers.get("ETag");
  skew(page);
  then();
  const says = [...document.querySelectorAll("[data-announce]")].map((node) => node.textContent);
  if (says.join() !== said.join()) document.getElementById("live").textContent = says.join(". ");
  seen();
}

function seen() { good = Date.now(); stale(false); }

export function follow(then) {
  skew(document);
  if (document.body.dataset.poll !== "yes") return;
  const turn = async () => {
    if (document.hidden || busy) return;
    busy = true;
    try { await ask(then); } catch { stale(true); } finally { busy = false; }
  };
  setInterval(turn, EVERY);
  document.addEventListener("visibilitychange", turn);
}
