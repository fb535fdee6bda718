"""The look of the report page, and the script that sorts its tables.

Colours follow the reader's light or dark setting; on paper they are those of the light one. Figures
keep a white ground in the dark, as they would in print. Without the script the page loses nothing
but the sorting.
"""

STYLE = """
:root { color-scheme: light dark; --ink: #1b1b1b; --soft: #5c5c5c; --line: #d9d9d9;
  --ground: #ffffff; --panel: #f5f6f7; --accent: #0072b2; --bad: #a33f00; --doubt: #8a5a00;
  --good: #00664b; }
@media (prefers-color-scheme: dark) { :root { --ink: #e8e8e8; --soft: #a9a9a9; --line: #3c3f44;
  --ground: #16181b; --panel: #1f2226; --accent: #6db9e8; --bad: #ff9d66; --doubt: #f2c14e;
  --good: #5fd0ab; } }
* { box-sizing: border-box; }
body { margin: 0; background: var(--ground); color: var(--ink);
  font: 16px/1.5 system-ui, -apple-system, "Segoe UI", Roboto, sans-serif; }
main { max-width: 62rem; margin: 0 auto; padding: 1.2rem 1rem 4rem; }
h1 { font-size: 1.5rem; margin: 0.4rem 0 0.2rem; overflow-wrap: anywhere; }
h2 { font-size: 1.2rem; margin: 2.4rem 0 0.6rem; padding-bottom: 0.25rem;
  border-bottom: 2px solid var(--line); }
h3 { font-size: 1rem; margin: 1.4rem 0 0.4rem; }
p, ul, dl { margin: 0.5rem 0; max-width: 46rem; overflow-wrap: anywhere; }
.soft { color: var(--soft); }
.badge { display: inline-block; padding: 0.15rem 0.8rem; border-radius: 1rem; font-weight: 700;
  -webkit-print-color-adjust: exact; print-color-adjust: exact; }
.wide { overflow-x: auto; margin: 0.6rem 0; }
table { border-collapse: collapse; font-size: 0.9rem; font-variant-numeric: tabular-nums; }
th, td { padding: 0.25rem 0.6rem; text-align: right; border-bottom: 1px solid var(--line);
  vertical-align: top; }
th:first-child, td:first-child, .text, .long { text-align: left; }
.text { min-width: 7rem; }
td.long { min-width: 18rem; }
tbody tr:hover { background: var(--panel); }
th button { all: unset; cursor: pointer; font-weight: 600; }
th button:focus-visible { outline: 2px solid var(--accent); }
th[aria-sort="ascending"] button::after { content: " \\25B2"; }
th[aria-sort="descending"] button::after { content: " \\25BC"; }
.good { color: var(--good); } .doubt { color: var(--doubt); } .bad { color: var(--bad); }
dl { display: grid; grid-template-columns: max-content 1fr; gap: 0.2rem 1.2rem; }
dt { font-weight: 600; } dd { margin: 0; }
figure { margin: 1rem 0; }
/* All figures at one scale: a narrow one is not blown up to the width of the page. */
figure img { display: block; width: min(100%, calc(8rem * var(--inches)));
  min-width: calc(4.5rem * var(--inches)); height: auto; background: #ffffff;
  border-radius: 4px; }
@media (min-width: 45rem) { figure img { min-width: 0; } }
@media (max-width: 44.99rem) {
  dl { display: block; } dd { margin-bottom: 0.5rem; }
  .findings thead { display: none; }
  .findings tr { display: block; padding: 0.4rem 0; border-bottom: 1px solid var(--line); }
  .findings td { display: inline-block; padding: 0 0.5rem 0 0; border: 0; min-width: 0; }
  .findings td.long { display: block; }
}
@media print {
  :root { --ink: #000000; --soft: #444444; --line: #bbbbbb; --ground: #ffffff; --panel: #ffffff;
    --bad: #a33f00; --doubt: #8a5a00; --good: #00664b; }
  body { font-size: 10pt; } main { max-width: none; padding: 0; }
  .wide { overflow: visible; } table { font-size: 7.5pt; } td.long { min-width: 0; }
  figure img { min-width: 0; max-width: 100%; }
  figure, tr, dl { break-inside: avoid; } h2, h3 { break-after: avoid; }
}
"""

SCRIPT = """
document.querySelectorAll("table.sortable").forEach(function (table) {
  var body = table.tBodies[0];
  table.querySelectorAll("thead th").forEach(function (head, column) {
    var button = document.createElement("button");
    button.type = "button";
    button.textContent = head.textContent;
    head.textContent = "";
    head.appendChild(button);
    button.addEventListener("click", function () {
      var up = head.getAttribute("aria-sort") !== "ascending";
      table.querySelectorAll("th").forEach(function (h) { h.removeAttribute("aria-sort"); });
      head.setAttribute("aria-sort", up ? "ascending" : "descending");
      var rows = Array.from(body.rows);
      rows.sort(function (a, b) {
        var x = a.cells[column].dataset.value, y = b.cells[column].dataset.value;
        var p = parseFloat(x), q = parseFloat(y), order;
        if (x === "" || y === "") { return (x === "") - (y === ""); }
        order = isNaN(p) || isNaN(q) ? x.localeCompare(y) : p - q;
        return up ? order : -order;
      });
      rows.forEach(function (row) { body.appendChild(row); });
    });
  });
});
"""
