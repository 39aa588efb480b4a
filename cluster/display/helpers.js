// Names, paths and reasons may hold anything: they reach a page as textContent only.
const find = id => document.getElementById(id);

function make(name, text = "", kind = "") {
  const element = document.createElement(name);
  element.textContent = text;
  if (kind) element.className = kind;
  return element;
}

function format(value) {
  if (value === null || value === undefined) return "";
  if (typeof value !== "number") return String(value);
  return Number.isInteger(value) && Math.abs(value) < 1e6 ? String(value) : String(Number(value.toPrecision(4)));
}

function fill(table, headings, rows) {
  const head = make("tr");
  head.append(...headings.map(([text, kind]) => make("th", text, kind)));
  table.replaceChildren(head, ...rows.map(cells => {
    const row = make("tr");
    row.append(...cells.map((cell, i) => {
      const box = make("td", cell instanceof Node ? "" : format(cell), headings[i][1]);
      if (cell instanceof Node) box.append(cell);
      return box;
    }));
    return row;
  }));
}

function duration(seconds) {
  if (seconds < 59.95) return `${seconds.toFixed(1)} s`;
  if (seconds >= 172800) return `${(seconds / 86400).toFixed(1)} days`;
  const whole = Math.round(seconds), two = n => String(n).padStart(2, "0");
  return `${Math.floor(whole / 3600)}:${two(Math.floor(whole / 60) % 60)}:${two(whole % 60)}`;
}

function bytes(count) {
  return count >= 1e10 ? `${(count / 1e9).toFixed(1)} GB` : `${Math.round(count / 1e6)} MB`;
}
