// Keys: / search, ? help, g and a letter to go, n new, j and k along rows. Never while one types in a field.
const GO = { o: "/ui/", j: "/ui/jobs", t: "/ui/timeline", c: "/ui/cluster" };
let went = 0;

const isTyping = (node) => node.closest?.("input:not([type=checkbox]):not([type=radio]), textarea, select, [contenteditable]");

async function help() {
  let box = document.getElementById("help");
  if (!box) {
    const page = new DOMParser().parseFromString(await (await fetch("/ui/help")).text(), "text/html");
    const keys = page.getElementById("keys-list");
    if (!keys) return location.assign("/ui/help");
    box = document.createElement("dialog");
    box.id = "help";
    box.className = "stack";
    box.setAttribute("aria-labelledby", "help-title");
    const title = document.createElement("h2");
    title.id = "help-title";
    title.textContent = "Keys";
    const end = document.createElement("form");
    end.method = "dialog";
    const button = document.createElement("button");
    button.textContent = "Close";
    end.append(button);
    keys.removeAttribute("id");
    box.append(title, ...keys.childNodes, end);
    document.body.append(box);
  }
  box.showModal();
}

function row(step) {
  const links = [...document.querySelectorAll("main tbody .job, main .lane-name a")];
  if (!links.length) return;
  const at = links.findIndex((link) => link.closest("tr, li, .lane")?.contains(document.activeElement));
  const next = at < 0 ? 0 : at + step;
  links[Math.min(links.length - 1, Math.max(0, next))].focus();
}

function search(event) {
  const field = document.querySelector("[data-search]");
  event.preventDefault();
  if (field) { field.focus(); field.select(); } else location.assign("/ui/jobs#q");
}

export function keys() {
  if (location.hash === "#q") document.querySelector("[data-search]")?.focus();
  document.addEventListener("keydown", (event) => {
    if (event.ctrlKey || event.metaKey || event.altKey || event.defaultPrevented) return;
    if (isTyping(event.target)) { if (event.key === "Escape") event.target.blur(); return; }
    if (document.querySelector("dialog[open]")) return;
    const key = event.key;
    if (Date.now() - went < 1200 && GO[key]) { went = 0; return location.assign(GO[key]); }
    went = 0;
    if (key === "g") went = Date.now();
    else if (key === "/") search(event);
    else if (key === "?") help();
    else if (key === "n") location.assign("/ui/new");
    else if (key === "j") row(1);
    else if (key === "k") row(-1);
  });
  document.addEventListener("click", (event) => {
    if (!event.target.closest("[data-help]") || event.ctrlKey || event.metaKey || event.shiftKey || event.button) return;
    event.preventDefault();
    help();
  });
}
