"use strict";
// Everything can be read without this: it sorts tables, writes them as CSV, and opens what is folded for the printer.
for (const table of document.querySelectorAll("table")) {
  const body = table.tBodies[0], heads = [...table.tHead.rows[0].cells];
  const words = (cell) => cell.dataset.text ?? cell.textContent.trim();
  const exact = (cell) => (cell.dataset.value === undefined ? NaN : Number(cell.dataset.value));

  const sort = (column, head) => {
    const falls = head.getAttribute("aria-sort") === "descending";
    const numeric = [...body.rows].some((row) => !Number.isNaN(exact(row.cells[column])));
    // Numbers start with the highest, words with A; a second press turns the order round.
    const sign = (head.hasAttribute("aria-sort") ? falls : !numeric) ? 1 : -1;
    for (const other of heads) other.removeAttribute("aria-sort");
    head.setAttribute("aria-sort", sign > 0 ? "ascending" : "descending");
    const order = (a, b) => (a < b ? -1 : a > b ? 1 : 0);
    const rows = [...body.rows].sort((one, two) => {
      const a = one.cells[column], b = two.cells[column];
      if (!numeric) return sign * order(words(a), words(b));
      const blank = Number.isNaN(exact(a)) - Number.isNaN(exact(b));
      return blank || (Number.isNaN(exact(a)) ? 0 : sign * order(exact(a), exact(b)));
    });
    body.append(...rows);
  };

  const lines = () => {
    if (table.dataset.heads) {
      const pairs = [...table.querySelectorAll("[data-row]")].map((cell) => JSON.parse(cell.dataset.row));
      return [JSON.parse(table.dataset.heads), ...pairs];
    }
    const rows = [...body.rows].map((row) => [...row.cells]);
    const spans = heads.map((_, i) => rows.some((cells) => cells[i].dataset.low !== undefined));
    const wide = (line, own, low, high) =>
      line.flatMap((cell, i) => (spans[i] ? [own(cell), low(cell), high(cell)] : [own(cell)]));
    const number = (text) => (text === undefined ? "" : Number(text));
    return [
      wide(heads, words, (h) => `${words(h)} low`, (h) => `${words(h)} high`),
      ...rows.map((cells) =>
        wide(cells, (c) => (c.dataset.value === undefined ? words(c) : number(c.dataset.value)),
          (c) => number(c.dataset.low), (c) => number(c.dataset.high))),
    ];
  };
  const field = (value) => {
    if (value === null) return "";
    if (typeof value === "number") return String(value);
    const safe = /^[=+\-@\t\r]/.test(value) ? `'${value}` : value; // else a spreadsheet takes it for a formula
    return /[",\r\n]/.test(safe) ? `"${safe.replaceAll('"', '""')}"` : safe;
  };
  const download = () => {
    const text = lines().map((line) => line.map(field).join(",") + "\r\n").join("");
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/csv;charset=utf-8" }));
    link.download = `${table.dataset.name}.csv`;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  };

  const button = (text, action) => {
    const made = document.createElement("button");
    made.type = "button";
    made.append(...text);
    made.addEventListener("click", action);
    return made;
  };
  if (!table.dataset.heads) {
    for (const [column, head] of heads.entries()) {
      head.dataset.text = words(head);
      head.append(button([...head.childNodes], () => sort(column, head)));
    }
  }
  const csv = button(["CSV"], download);
  csv.className = "csv";
  csv.setAttribute("aria-label", `Download as CSV: ${table.caption.textContent.trim()}`);
  table.parentElement.after(csv);
}

const reach = () => {
  for (const box of document.querySelectorAll(".wide")) {
    if (box.scrollWidth > box.clientWidth) box.tabIndex = 0; // so that arrow keys can scroll it
    else box.removeAttribute("tabindex");
  }
};
addEventListener("resize", reach);
document.addEventListener("toggle", reach, true);
reach();

addEventListener("beforeprint", () => {
  for (const folded of document.querySelectorAll("details:not([open])")) {
    folded.open = true;
    folded.dataset.opened = "";
  }
});
addEventListener("afterprint", () => {
  for (const folded of document.querySelectorAll("details[data-opened]")) {
    folded.open = false;
    delete folded.dataset.opened;
  }
});
