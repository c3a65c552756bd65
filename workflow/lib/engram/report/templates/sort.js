// Tables whose heads sort them: numbers from the largest on, words from A on, empty cells last.
function sortable(table) {
  const heads = [...table.tHead.rows[0].cells];
  heads.forEach((head, column) => head.querySelector("button").addEventListener("click", () => {
    const numeric = head.classList.contains("number");
    const before = head.getAttribute("aria-sort");
    const up = before === "none" ? !numeric : before === "descending";
    heads.forEach((other) => other.setAttribute("aria-sort", "none"));
    head.setAttribute("aria-sort", up ? "ascending" : "descending");
    const rows = [...table.tBodies[0].rows].map((row) => [row, key(row.cells[column], numeric)]);
    rows.sort(([, a], [, b]) => (a === null) - (b === null) || (up ? 1 : -1) * compared(a, b));
    table.tBodies[0].append(...rows.map(([row]) => row));
  }));
}

function key(cell, numeric) {
  if (!numeric) return cell.textContent.trim();
  return cell.dataset.value === undefined ? null : Number(cell.dataset.value);
}

function compared(a, b) {
  return typeof a === "number" && typeof b === "number" ? a - b : String(a).localeCompare(String(b), "en", { numeric: true });
}

// A sortable table of heads, which of them are numbers, and rows of texts or [text, value].
function tableOf(caption, heads, numeric, rows) {
  const kind = (column) => (numeric[column] ? "number" : null);
  const table = make("table", { class: "sortable" },
    make("caption", { class: "hidden" }, caption),
    make("thead", {}, make("tr", {}, ...heads.map((head, column) => make("th",
      { scope: "col", "aria-sort": "none", class: kind(column) }, make("button", { type: "button" }, head))))),
    make("tbody", {}, ...rows.map((row) => make("tr", {}, ...row.map((cell, column) => {
      const [text, value] = Array.isArray(cell) ? cell : [cell, null];
      return make("td", { class: kind(column), "data-value": value }, text);
    })))));
  sortable(table);
  return make("div", { class: "box", tabindex: 0, role: "region", "aria-label": caption }, table);
}

// Rows of a csv text: fields may stand in quotes, and hold commas, quotes and line ends there.
function csvRows(text) {
  const rows = [[]];
  let field = "", quoted = false;
  for (let at = 0; at < text.length; at++) {
    const letter = text[at];
    if (quoted && letter === '"' && text[at + 1] === '"') field += text[at++];
    else if (letter === '"') quoted = !quoted;
    else if (!quoted && (letter === "," || letter === "\n")) {
      rows.at(-1).push(field);
      field = "";
      if (letter === "\n") rows.push([]);
    } else field += letter;
  }
  if (field || rows.at(-1).length) rows.at(-1).push(field);
  return rows.filter((row) => row.length);
}

const MOST = 500;  // rows of a csv that are shown

document.querySelectorAll("details.csv").forEach((details) => details.addEventListener("toggle", () => {
  const place = details.querySelector(".table");
  if (!details.open || place.childElementCount) return;
  const link = details.querySelector("a");
  const bytes = Uint8Array.from(atob(link.href.split(",")[1]), (letter) => letter.charCodeAt(0));
  const [heads, ...rows] = csvRows(new TextDecoder().decode(bytes));
  const shown = rows.slice(0, MOST);
  const numeric = heads.map((_, column) => shown.some((row) => row[column]) &&
    shown.every((row) => row[column] === "" || Number.isFinite(Number(row[column]))));
  if (rows.length > MOST) place.append(make("p", {}, `The first ${MOST} of ${rows.length.toLocaleString("en")} rows:`));
  place.append(tableOf(link.download, heads, numeric, shown.map((row) => row.map((field, column) =>
    numeric[column] && field !== "" ? [field, field] : field))));
}));

document.querySelectorAll("table.sortable").forEach(sortable);
