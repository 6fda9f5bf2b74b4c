"use strict";
// Without this script the page says the same; with it, tables sort, and a second click on a number closes its row.
for (const table of document.querySelectorAll("table")) {
  const headings = [...table.tHead.rows[0].cells];
  const original = [...table.tBodies];
  if (original.length < 3) continue;
  headings.forEach((heading, column) => {
    const button = document.createElement("button");
    button.append(...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" }[heading.ariaSort ?? "none"];
      for (const other of headings) other.ariaSort = null;
      heading.ariaSort = next === "none" ? null : next;
      table.classList.toggle("sorted", next !== "none");
      table.append(...(next === "none" ? original : sorted(original, column, next === "ascending" ? 1 : -1)));
    });
  });
}

function sorted(bodies, column, sign) {
  const text = (body) => body.rows[0].cells[column].textContent;
  const filled = bodies.filter((body) => text(body).trim() !== "");
  const number = (body) => parseFloat(text(body));
  const numeric = filled.every((body) => !Number.isNaN(number(body)) || text(body) === "not run");
  const order = numeric
    ? (a, b) => (Number.isNaN(number(a)) ? 1 : Number.isNaN(number(b)) ? -1 : sign * (number(a) - number(b)))
    : (a, b) => sign * text(a).localeCompare(text(b));
  return [...filled.sort(order), ...bodies.filter((body) => text(body).trim() === "")];
}

document.addEventListener("click", (event) => {
  const link = event.target.closest?.('a[href$="-row"]');
  if (!link || link.getAttribute("href") !== location.hash) return;
  event.preventDefault();
  location.hash = location.hash.slice(0, -"-row".length);
});
