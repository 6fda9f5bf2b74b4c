"use strict";
// Without this script the page says the same, all of it from the start; a whole row is in the CSV beside the page.
const all = (selector, from = document) => [...from.querySelectorAll(selector)];
const make = (tag, properties, ...children) => {
  const element = Object.assign(document.createElement(tag), properties);
  element.append(...children);
  return element;
};

// ---------------------------------------------------------------- parts that are text until they are opened

async function unpacked(script) {
  const bytes = Uint8Array.from(atob(script.textContent), (character) => character.charCodeAt(0));
  return new Response(new Blob([bytes]).stream().pipeThrough(new DecompressionStream("deflate"))).text();
}

async function contentOf(details) {
  const text = details.querySelector(":scope > noscript"), packed = details.querySelector(":scope > script");
  return packed ? await unpacked(packed) : text?.textContent;
}

async function fill(details) {
  const content = await contentOf(details), text = details.querySelector(":scope > noscript");
  if (!text) return; // it is there already
  text.insertAdjacentHTML("beforebegin", content);
  for (const part of all(":scope > noscript, :scope > script", details)) part.remove();
  prepare(details);
}

async function holding(id) {
  const sections = all("section[id]").filter((section) => id.startsWith(`${section.id}-`));
  for (const details of sections.flatMap((section) => all("details", section))) {
    if ((await contentOf(details))?.includes(`id="${id}"`)) return details;
  }
}

document.addEventListener("toggle", (event) => event.target.open && fill(event.target), true);

async function reveal(hash) {
  const id = hash.slice(1);
  if (!id) return;
  let target = document.getElementById(id);
  if (!target) {
    const details = await holding(id);
    if (!details) return;
    await fill(details);
    target = document.getElementById(id);
  }
  if (target.localName === "tr") await openRow(target);
  if (hash !== address()) return; // meanwhile another part was asked for
  for (let part = target; part; part = part.parentElement) {
    if (part.localName === "details") part.open = true;
  }
  target.querySelector(":scope > summary, :scope > th a")?.focus({ preventScroll: true });
  if (target.matches(".shared")) target.firstElementChild.open = true;
  requestAnimationFrame(() => {
    target.scrollIntoView();
    if (target.localName === "tr") target.closest(".scroll").scrollLeft = 0; // a line is wider than what is seen of it
  });
}

function address() {
  try {
    return decodeURIComponent(location.hash);
  } catch {
    return ""; // no address of this page
  }
}

addEventListener("hashchange", () => reveal(address()));

// ---------------------------------------------------------------- whole rows

async function openRow(line) {
  const section = line.closest("section");
  const { keys, columns } = JSON.parse(await unpacked(document.getElementById(`${section.id}-rows`)));
  if (address() !== `#${line.id}` || line.nextElementSibling?.className === "record") return; // asked for no more, or open
  const place = keys.indexOf(line.id.slice(section.id.length + 1)), groups = new Map();
  for (const [column, values] of Object.entries(columns)) {
    if (!values[place]) continue;
    const dot = column.indexOf("."), group = dot < 0 ? "row" : column.slice(0, dot);
    if (!groups.has(group)) groups.set(group, make("dl"));
    groups.get(group).append(make("dt", {}, column.slice(dot + 1)), make("dd", {}, values[place]));
  }
  const close = make("button", { className: "close", type: "button" }, "close");
  close.addEventListener("click", () => closeRow(line));
  const shared = make("p", {}, "What all rows have in common is under ");
  shared.append(make("a", { href: `#${section.id}-protocol` }, "protocol, training recipe and provenance"), ".");
  const parts = [...groups].map(([name, list]) => make("section", {}, make("h4", {}, name), list));
  const cell = make("td", { colSpan: line.cells.length }, make("div", {}, close, ...parts, shared));
  line.after(make("tr", { className: "record" }, cell));
  line.classList.add("open");
}

function closeRow(line) {
  if (line.nextElementSibling?.className === "record") line.nextElementSibling.remove();
  line.classList.remove("open");
  if (address() === `#${line.id}`) history.replaceState(null, "", location.pathname + location.search);
}

document.addEventListener("click", (event) => {
  const line = event.target.closest("tr");
  const link = event.target.closest("td.n") ? line.querySelector("th a") : event.target.closest("a");
  const hash = link?.getAttribute("href");
  if (!hash?.startsWith("#")) return;
  if (line && hash === `#${line.id}` && line.classList.contains("open")) {
    event.preventDefault();
    closeRow(line);
  } else if (hash === address() || !event.target.closest("a")) {
    event.preventDefault();
    if (hash === address()) reveal(hash);
    else location.hash = hash;
  }
});

// ---------------------------------------------------------------- tables: sorting, and a word where there is more aside

const watched = new ResizeObserver((entries) => entries.forEach((entry) => hint(entry.target)));

function hint(scroll) {
  const aside = scroll.scrollWidth - scroll.clientWidth;
  scroll.classList.toggle("wide", aside > 1);
  scroll.classList.toggle("more", aside - scroll.scrollLeft > 1);
}

function prepare(part) {
  for (const scroll of all(".scroll", part)) {
    scroll.addEventListener("scroll", () => hint(scroll), { passive: true });
    watched.observe(scroll);
    hint(scroll);
  }
  for (const table of all("table", part)) if (table.tBodies[0].rows.length > 2) sortable(table);
}

function sortable(table) {
  const headings = [...table.tHead.rows[0].cells], [body] = table.tBodies, original = [...body.rows];
  headings.forEach((heading, column) => {
    const button = make("button", { type: "button" }, ...heading.childNodes);
    heading.append(button);
    button.addEventListener("click", () => {
      const next = { none: "ascending", ascending: "descending", descending: "none" }[heading.ariaSort ?? "none"];
      for (const other of headings) other.ariaSort = null;
      heading.ariaSort = next === "none" ? null : next;
      table.classList.toggle("sorted", next !== "none");
      for (const line of original) closeRow(line);
      body.append(...(next === "none" ? original : sorted(original, column, next === "ascending" ? 1 : -1)));
    });
  });
}

function sorted(lines, column, sign) {
  const text = (line) => line.cells[column].textContent;
  const filled = lines.filter((line) => text(line).trim() !== "");
  const number = (line) => parseFloat(text(line));
  const numeric = filled.every((line) => !Number.isNaN(number(line)) || text(line) === "not run");
  const order = numeric
    ? (a, b) => (Number.isNaN(number(a)) ? 1 : Number.isNaN(number(b)) ? -1 : sign * (number(a) - number(b)))
    : (a, b) => sign * text(a).localeCompare(text(b));
  return [...filled.sort(order), ...lines.filter((line) => text(line).trim() === "")];
}

// ---------------------------------------------------------------- legends: a family alone

for (const legend of all(".legend")) {
  const figure = legend.closest("figure"), buttons = all("button", legend);
  const show = (button) => {
    const shown = button ?? buttons.find((one) => one.ariaPressed === "true");
    if (shown) figure.dataset.only = shown.className;
    else delete figure.dataset.only;
  };
  for (const button of buttons) {
    button.addEventListener("click", () => {
      const pressed = button.ariaPressed !== "true";
      for (const one of buttons) one.ariaPressed = String(pressed && one === button);
      show();
    });
    const item = button.parentElement;
    item.addEventListener("pointerenter", (event) => event.pointerType === "mouse" && show(button));
    item.addEventListener("pointerleave", () => show());
    button.addEventListener("focus", () => button.matches(":focus-visible") && show(button));
    button.addEventListener("blur", () => show());
  }
}

// ---------------------------------------------------------------- claims: filter and search

for (const form of all(".filter")) {
  const buttons = all("button", form), input = form.querySelector("input"), count = form.querySelector("output");
  const groups = all("details.group"), before = new Map(groups.map((group) => [group, group.open]));
  const words = new Map(
    all("details.claim").map((claim) => [claim, `${claim.dataset.words} ${claim.firstElementChild.textContent}`.toLowerCase()])
  );
  const apply = () => {
    const group = buttons.find((one) => one.ariaPressed === "true").dataset.group;
    const asked = input.value.toLowerCase().split(/\s+/).filter(Boolean);
    for (const [claim, text] of words) claim.hidden = !asked.every((word) => text.includes(word));
    for (const one of groups) {
      one.hidden = (group && one.dataset.group !== group) || !one.querySelector("details.claim:not([hidden])");
      one.open = group || asked.length ? true : before.get(one);
    }
    const found = groups.filter((one) => !one.hidden).flatMap((one) => all("details.claim:not([hidden])", one)).length;
    count.textContent = asked.length ? `${found} found` : "";
  };
  form.hidden = false;
  form.addEventListener("submit", (event) => event.preventDefault());
  input.addEventListener("input", apply);
  for (const button of buttons) {
    button.addEventListener("click", () => {
      for (const one of buttons) one.ariaPressed = String(one === button);
      apply();
    });
  }
}

prepare(document);
reveal(address());
