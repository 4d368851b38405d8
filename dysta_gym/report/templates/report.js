"use strict";
// Tables are sorted by a click on a column's head: numbers first up, then down; no value stays last.
for (const table of document.querySelectorAll("table.sortable")) {
  const heads = [...table.tHead.rows[0].cells];
  const body = table.tBodies[0];
  const given = [...body.rows];
  heads.forEach((head, column) => {
    if (head.hasAttribute("data-fixed")) return;
    const button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.replaceChildren(button);
    const key = (row) => {
      const text = row.cells[column].textContent.trim();
      if (!column) return text;
      const number = parseFloat(text);
      return Number.isNaN(number) ? null : number;
    };
    button.addEventListener("click", () => {
      const turn = head.getAttribute("aria-sort") === "ascending" ? "descending" : "ascending";
      for (const other of heads) other.removeAttribute("aria-sort");
      head.setAttribute("aria-sort", turn);
      const sign = turn === "ascending" ? 1 : -1;
      const rows = given.map((row) => [key(row), row]);
      rows.sort(([a], [b]) => {
        if (a === null || b === null) return (a === null) - (b === null);
        return sign * (column ? a - b : a.localeCompare(b));
      });
      body.append(...rows.map(([, row]) => row));
    });
  });
}
// What a title says is shown at once, and for the keyboard, too.
const tip = document.getElementById("tip");
const told = new Map();
for (const title of document.querySelectorAll(".chart title")) {
  told.set(title.parentNode, title.textContent);
  title.remove();
}
for (const strip of document.querySelectorAll(".strip[title]")) {
  told.set(strip, strip.title);
  strip.removeAttribute("title");
}
const show = (text, x, y) => {
  tip.textContent = text;
  tip.hidden = false;
  const { width, height } = tip.getBoundingClientRect();
  const left = x + 14 + width > innerWidth ? x - 14 - width : x + 14;
  const top = y + 14 + height > innerHeight ? y - 14 - height : y + 14;
  tip.style.left = `${Math.max(4, Math.min(left, innerWidth - width - 4))}px`;
  tip.style.top = `${Math.max(4, top)}px`;
};
const hide = () => { tip.hidden = true; };
for (const [element, text] of told) {
  element.addEventListener("pointermove", (event) => show(text, event.clientX, event.clientY));
  element.addEventListener("pointerleave", hide);
  element.addEventListener("focus", () => {
    const box = element.getBoundingClientRect();
    show(text, box.right, box.bottom);
  });
  element.addEventListener("blur", hide);
}
addEventListener("keydown", (event) => { if (event.key === "Escape") hide(); });
addEventListener("scroll", hide, true);
