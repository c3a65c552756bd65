document.querySelectorAll(".browser.edited").forEach((browser) => {
  const data = source(browser), form = browser.querySelector("form"), fields = form.elements;
  const methods = data.methods.map((method) => ({ ...method, likely: probabilities(method.likely, data),
    first: probabilities(method.first, data) }));
  const unedited = methods.find(({ name }) => name === "none"), editors = methods.filter((method) => method !== unedited);
  const starts = [];
  data.records.reduce((sum, record, at) => (starts[at] = sum) + record.prompts.length, 0);
  const find = (selector) => browser.querySelector(selector);
  const method = () => methods.find(({ name }) => name === fields.method.value);
  const NEW = 0, TRUE = 1;
  const at = (record, prompt, target) => 2 * (starts[record] + prompt) + target;
  const statement = ({ prompt, subject }) => prompt.replace("{}", () => subject);

  function first(share) {
    return share === 1 ? " ✓" : share > 0 ? ` (${Math.round(100 * share)}% of its tokens ✓)` : "";
  }

  function cell(editor, record, prompt, target) {
    const value = editor ? editor.likely[at(record, prompt, target)] : NaN;
    return make("td", { class: "number bar", style: `--part: ${Number.isNaN(value) ? 0 : 100 * value}%` },
      percent(value) + (editor ? first(editor.first[at(record, prompt, target)]) : ""));
  }

  // Whether some prompt of the dataset has a probability of this target.
  const has = (target) => methods.some(({ likely }) => likely.some((value, place) => place % 2 === target && !Number.isNaN(value)));
  const targets = [NEW, TRUE].filter(has);

  function prompts(record) {
    const names = ["new", "true"];
    const heads = targets.flatMap((target) => [["before", unedited], ["after", method()]].map(([when, editor]) =>
      ({ when, editor, target })));
    const head = make("thead", {}, make("tr", {}, make("th", { scope: "col" }, "Prompt"), ...heads.map(({ when, target }) =>
      make("th", { scope: "col", class: "number" }, "p(", make("span", { class: names[target] }, names[target]), `) ${when}`))));
    const body = make("tbody");
    data.records[record].prompts.forEach(([kind, text], index, all) => {
      if (!index || all[index - 1][0] !== kind) body.append(make("tr", { class: "group" },
        make("th", { colspan: heads.length + 1, scope: "rowgroup" }, make("span", {}, data.kinds[kind]))));
      body.append(make("tr", {}, make("td", {}, kind === 2 && data.records[record].near ?
        `${text} → ${data.records[record].near}` : text), ...heads.map(({ editor, target }) => cell(editor, record, index, target))));
    });
    find(".probabilities").replaceChildren(make("caption", { class: "hidden" }, "Probabilities before and after"), head, body);
  }

  // A text with its prompt, and the objects in it, marked.
  function written([prompt, text], record) {
    const words = [[record.new, "new"], [record.true, "true"]].filter(([word]) => word);
    const [said, rest] = [data.texts[prompt], data.texts[text]];
    const begins = rest.startsWith(said) ? said.length : 0;
    const pattern = new RegExp(`(${words.map(([word]) => word.replace(/[.*+?^${}()|[\]\\]/g, "\\$&")).join("|")})`, "iu");
    const parts = rest.slice(begins).split(pattern).map((part) => {
      const found = words.find(([word]) => word.toLowerCase() === part.toLowerCase());
      return found ? make("span", { class: found[1] }, part) : part;
    });
    return make("p", {}, make("span", { class: "said" }, rest.slice(0, begins)), ...parts);
  }

  function texts(index) {
    const record = data.records[index], [before, after] = [unedited, method()].map((editor) => editor?.texts[record.case] ?? []);
    const rows = Array.from({ length: Math.max(before.length, after.length) }, (_, row) => make("div", {},
      ...[["Before", before[row]], ["After", after[row]]].map(([when, pair]) => make("div", {}, make("h4", {}, when),
        pair ? written(pair, record) : make("p", {}, "–")))));
    const none = data.written ? "No texts were generated for this record, or they are beyond the limit of this page." :
      "No texts are generated for these records.";
    find(".texts").replaceChildren(...(rows.length ? rows : [make("p", { class: "caption" }, none)]));
  }

  function compare(index) {
    const number = (value) => (value === null || Number.isNaN(value) ? ["–", null] : [(100 * value).toFixed(1), value]);
    const rows = methods.map((editor) => [editor.label, number(editor.likely[at(index, 0, NEW)]),
      ...(targets.includes(TRUE) ? [number(editor.likely[at(index, 0, TRUE)])] : []),
      ...data.metrics.map((_, metric) => number(editor.measured[index]?.[metric] ?? null))]);
    const heads = ["Editor", "p(new)", ...(targets.includes(TRUE) ? ["p(true)"] : []), ...data.metrics];
    find(".compare .table").replaceChildren(make("p", { class: "caption" }, "p of the rewrite prompt, and metrics, × 100."),
      tableOf("All editors on this record", heads, heads.map((_, column) => column > 0), rows));
  }

  function show() {
    const index = Number(fields.choice.value), record = data.records[index];
    if (fields.choice.value === "") {
      find(".sentence").textContent = "No record is like this.";
      [".probabilities", ".texts", ".compare .table"].forEach((part) => find(part).replaceChildren());
      return;
    }
    const measured = method().measured[index];
    find(".sentence").replaceChildren(`${statement(record)}: `, make("span", { class: "true" }, record.true), " → ",
      make("span", { class: "new" }, record.new), ` (${method().label}; ` +
      data.metrics.map((name, metric) => `${name} ${(100 * measured[metric]).toFixed(0)}`).join(", ") + ")");
    prompts(index);
    compare(index);
    texts(index);
  }

  function list() {
    const chosen = fields.choice.value, wanted = fields.search.value.trim().toLowerCase();
    const [metric, outcome] = fields.outcome.value.split(" ");
    const found = data.records.map((record, index) => ({ record, index, measured: method().measured[index] })).filter(
      ({ record, measured }) => measured && (!fields.relation.value || record.relation === fields.relation.value) &&
        (!outcome || (measured[metric] === 1) === (outcome === "holds")) &&
        `${statement(record)} ${record.new} ${record.true}`.toLowerCase().includes(wanted));
    fill(fields.choice, found.map(({ record, index }) => [index, `${record.case}: ${statement(record)} → ${record.new}`]), chosen);
    const all = method().measured.filter((measured) => measured).length;
    find(".count").textContent = `(${found.length.toLocaleString("en")} of ${all.toLocaleString("en")})`;
    show();
  }

  const relations = [...new Set(data.records.map(({ relation }) => relation))].sort();
  fill(fields.method, (editors.length ? editors : methods).map(({ name, label }) => [name, label]), "rome");
  fill(fields.relation, [["", "all"], ...relations.map((name) => [name, name])]);
  fields.relation.closest("label").hidden = relations.length < 2;
  const names = ["the edit", "every paraphrase", "every neighbour"];
  fill(fields.outcome, [["", "all"], ...data.metrics.flatMap((metric, place) => [[`${place} holds`, `${names[place]} holds (${metric} 100)`],
    [`${place} fails`, `not ${names[place]} (${metric} below 100)`]])]);
  ["method", "relation", "outcome"].forEach((name) => fields[name].addEventListener("change", list));
  fields.search.addEventListener("input", list);
  stepper(form, show);
  list();
});
