// What pages do beyond links and forms: follow what happens, keys, times. All works without it.
import { follow } from "./live.js";
import { keys } from "./keys.js";
import { times } from "./times.js";

for (const node of document.querySelectorAll("[data-js]")) node.hidden = false;
times(document);
keys();
follow(() => { for (const node of document.querySelectorAll("[data-js]")) node.hidden = false; times(document); });

document.addEventListener("click", async (event) => {
  const button = event.target.closest("[data-copy]");
  if (!button) return;
  await navigator.clipboard.writeText(document.querySelector(button.dataset.copy).textContent);
  button.textContent = "Copied";
});
document.addEventListener("input", (event) => {
  const choice = event.target.dataset.picks;
  if (choice) event.target.form.querySelector(`[value="${choice}"]`).checked = true;
});
document.addEventListener("change", (event) => {
  const form = event.target.closest("[data-bulk]");
  if (!form) return;
  const count = form.querySelectorAll("[name=id]:checked").length;
  form.querySelector("[data-count]").textContent = count ? `With the ${count} ticked:` : "With the ticked jobs:";
});
