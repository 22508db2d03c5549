// The form of a job: as one types, the same form is sent to be read, and its preview and payload fields are put in place.
const form = document.querySelector("[data-edit]");
const PAUSE = 350;
let timer, asking, sent = "";

async function show() {
  const data = new URLSearchParams(new FormData(form));
  data.set("do", "live");
  const text = data.toString();
  if (text === sent) return;
  asking?.abort();
  asking = new AbortController();
  let page;
  try {
    const answer = await fetch(form.action, { method: "POST", body: data, signal: asking.signal, redirect: "error" });
    if (!answer.ok) throw new Error(String(answer.status));
    page = new DOMParser().parseFromString(await answer.text(), "text/html");
  } catch (error) {
    if (error.name !== "AbortError") document.querySelector("#preview").classList.add("old");
    return;
  }
  sent = text;
  swap(page, "#preview");
  const handler = (doc) => doc.querySelector("#payload").dataset.handler;
  if (handler(page) !== handler(document)) swap(page, "#payload");
}

function swap(page, id) {
  document.querySelector(id).replaceWith(document.adoptNode(page.querySelector(id)));
}

function soon(event) {
  clearTimeout(timer);
  timer = setTimeout(show, event.type === "change" ? 0 : PAUSE);
}

for (const node of form.querySelectorAll("[data-no-js]")) node.hidden = true;
form.addEventListener("input", soon);
form.addEventListener("change", soon);
