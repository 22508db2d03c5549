// Times as far away as they are, by the page's own clock and the server's; and in the zone of the browser.
const UNITS = [["d", 86400], ["h", 3600], ["min", 60]];
const skew = () => Number(document.body.dataset.skew || 0);

function size(seconds) {
  for (const [unit, length] of UNITS)
    if (seconds >= 2 * length || (unit === "min" && seconds >= length)) return `${Math.floor(seconds / length)} ${unit}`;
  return `${seconds} s`;
}

export function ago(at, now) {
  const distance = at - now;
  const seconds = Math.floor(Math.abs(distance) / 1000);
  if (seconds > 60 * 86400) return null; // a date stands there, or forever
  if (seconds === 0) return "now";
  return distance > 0 ? `in ${size(seconds)}` : `${size(seconds)} ago`;
}

function set(node, text) { if (node.textContent !== text) node.textContent = text; }

export function times(root) {
  const now = Date.now() + skew();
  for (const node of root.querySelectorAll("time[datetime]")) {
    const at = Date.parse(node.dateTime);
    if (Number.isNaN(at)) continue;
    if ("here" in node.dataset) set(node, new Intl.DateTimeFormat("sv-SE", { dateStyle: "short", timeStyle: "medium" }).format(at));
    else if ("ago" in node.dataset || node.closest(".list")) {
      const text = ago(at, now);
      if (text) set(node, text);
    }
    if (!node.title) node.title = new Date(at).toLocaleString();
  }
}
setInterval(() => { if (!document.hidden) times(document); }, 1000);
