// The explorer: filters the results that the page carries and draws them with Vega.
// State lives in the address after "#": only choices that differ from the page's own are kept.
"use strict";

(() => {
  const byId = (name) => document.getElementById(`explorer-${name}`);
  const form = byId("controls");
  if (!form) return;

  const MOST_ROWS = 100; // of the table
  const MOST_INTERVALS = 150; // more of them hide the dots
  const data = JSON.parse(byId("data").textContent);
  const selects = [...form.querySelectorAll("select")];
  const results = data.rows.map((row) =>
    Object.fromEntries(
      data.columns.map((name, i) => [name, name in data.levels ? data.levels[name][row[i]] : row[i]]),
    ),
  );

  // --- state -------------------------------------------------------------------------------
  const usual = (select) => (select.querySelector("option[selected]") ?? select.options[0]).value;
  const state = () => Object.fromEntries(selects.map((select) => [select.name, select.value]));

  function readAddress() {
    const asked = new URLSearchParams(window.location.hash.slice(1));
    const unknown = [];
    for (const select of selects) {
      const value = asked.get(select.name) ?? usual(select);
      const there = [...select.options].some((option) => option.value === value);
      select.value = there ? value : usual(select);
      if (!there) unknown.push(`${select.name} “${value}”`);
    }
    return unknown;
  }

  function writeAddress() {
    const kept = selects.filter((select) => select.value !== usual(select)).map((s) => [s.name, s.value]);
    const hash = new URLSearchParams(kept).toString().replaceAll("%3A", ":");
    window.history.replaceState(null, "", hash ? `#${hash}` : window.location.href.split("#")[0]);
  }

  // --- words -------------------------------------------------------------------------------
  const METRIC = new Set(Object.keys(data.metrics));
  const decimals = (name) => (METRIC.has(name) || name === "fit_seconds" ? 3 : 0);
  const formats = [0, 3].map((n) => [n, new Intl.NumberFormat("en", { minimumFractionDigits: n, maximumFractionDigits: n })]);
  const format = Object.fromEntries(formats);
  const number = (value, name) => (value === null ? "–" : format[decimals(name)].format(value).replace("-", "−"));
  const count = (items) => items.length.toLocaleString("en");

  const interval = (row) => `${number(row.auroc_low, "auroc")} to ${number(row.auroc_high, "auroc")}`;
  const cost = (row) =>
    row.fit_seconds === null ? "unknown" : `${number(row.fit_seconds, "fit_seconds")} s, ${number(row.peak_memory_mb)} MB`;

  function cell(row, name) {
    if (name === "auroc" && row.reason) return `missing: ${row.reason}`;
    if (name === "auroc" && row.auroc_low !== null) return `${number(row.auroc, name)} (${interval(row)})`;
    return name in data.levels ? row[name] : number(row[name], name);
  }

  // --- table, missing results, one chosen result -----------------------------------------------
  function element(tag, text, attributes = {}) {
    const made = document.createElement(tag);
    made.textContent = text;
    for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
    return made;
  }

  const linked = (row) => (row.page ? element("a", row.task, { href: row.page }) : element("span", row.task));

  function fillTable(shown) {
    const table = byId("table");
    const first = shown.slice(0, MOST_ROWS);
    const all = first.length === shown.length;
    table.caption.textContent = all ? `${count(shown)} results` : `The first ${count(first)} of ${count(shown)} results`;
    table.tBodies[0].replaceChildren(
      ...first.map((row) => {
        const line = document.createElement("tr");
        const head = element("th", "", { scope: "row" });
        head.append(linked(row));
        const rest = Object.keys(data.table).slice(1);
        line.append(head, ...rest.map((name) => element("td", cell(row, name))));
        return line;
      }),
    );
  }

  function listMissing(missing) {
    const items = [...new Set(missing.map((row) => row.reason))].map((reason) => {
      const rows = missing.filter((row) => row.reason === reason);
      const tasks = [...new Set(rows.map((row) => row.task))].join(", ");
      return element("li", `${reason} (${rows.length}: ${tasks})`);
    });
    byId("missing").hidden = missing.length === 0;
    byId("missing-count").textContent = missing.length;
    byId("missing").querySelector("ul").replaceChildren(...items);
  }

  /** Everything that tells a result from all others. */
  function identity(row) {
    const rules = row.fidelity in data.fidelities ? ` (${data.fidelities[row.fidelity]})` : "";
    const rare = Object.entries(data.rare).map(([name, heading]) => `${heading} ${row[name]}`);
    return [
      row.representation, row.head, `${row.n_train} training cells`, `seed ${row.seed}`, `held out ${row.held_out}`,
      `protocol ${row.protocol}`, `fidelity ${row.fidelity}${rules}`, ...rare,
    ].join(", ");
  }

  function choose(row) {
    const numbers = `${row.metric} ${row.shown}, 95 % interval of AUROC ${row.interval}`;
    const rest = `: ${identity(row)}: ${numbers}, ${number(row.n_test)} test cells, ${row.cost}. `;
    const link = row.page ? [element("a", "Open the page of this run", { href: row.page }), ". "] : [];
    const audit = element("a", "audit compares its rules with the usual ones", { href: data.audit });
    const counted = link.length ? "That page counts this result but does not show it; the " : "The ";
    const note = data.audited.includes(row.fidelity) ? [counted, audit, "."] : [];
    byId("chosen").replaceChildren(element("strong", row.task), rest, ...link, ...note);
  }

  /** Where nothing is left: a button for each filter whose undoing alone would show something. */
  function undoButtons(choice) {
    const left = (select) => results.filter((row) => matches(row, { ...choice, [select.name]: "" }));
    return selects.filter((select) => select.value && select.options[0].value === "").flatMap((select) => {
      const found = left(select);
      if (!found.length) return [];
      const name = `${select.labels[0].textContent}: any (${count(found)})`;
      const button = element("button", name, { type: "button" });
      button.addEventListener("click", () => {
        select.value = "";
        select.focus();
        writeAddress();
        render();
      });
      return [button, " "];
    });
  }

  // --- chart -----------------------------------------------------------------------------------
  let view = null;
  let latest = 0;

  /** Dots of one row are spread over its height in a fixed order; a few of them stay near its middle. */
  const jitter = (i, n) => 0.5 + (((i * 0.618034 + 0.5) % 1) - 0.5) * Math.min(0.8, 0.1 * (n - 1));

  function points(shown, { metric, rows, colour }) {
    const drawn = metric === "auroc" && shown.length <= MOST_INTERVALS;
    const members = new Map(shown.map((row) => [row[rows], { seen: 0, all: 0 }]));
    for (const row of shown) members.get(row[rows]).all += 1;
    const place = (row) => jitter(members.get(row[rows]).seen++, members.get(row[rows]).all);
    return shown.map((row) => ({
      ...row, jitter: place(row), held_out: row.held_out || "none", row: row[rows], colour: row[colour], metric: data.metrics[metric], value: row[metric],
      low: drawn ? row.auroc_low : null, high: drawn ? row.auroc_high : null, shown: number(row[metric], metric), cost: cost(row),
      interval: row.auroc_low === null ? "none" : `${interval(row)}, over test ${row.interval_unit}s`,
    }));
  }

  /** Rows of the chart in which there is nothing but missing results: drawn as missing. */
  function gaps(chosen, shown, rows) {
    const drawn = new Set(shown.map((row) => row[rows]));
    const empty = chosen.filter((row) => !drawn.has(row[rows])).map((row) => row[rows]);
    return [...new Set(empty)].map((row) => ({ row, text: `no value (${empty.filter((r) => r === row).length})` }));
  }

  function specification(chosen, shown, choice, words) {
    const { metric, rows, colour } = choice;
    const present = new Set(chosen.map((row) => row[rows]));
    const values = {
      "{metric}": data.metrics[metric], "{rows}": data.fields[rows], "{colour}": data.fields[colour],
      "{row levels}": data.levels[rows].filter((level) => present.has(level)),
      "{colour levels}": data.levels[colour], "{description}": words,
    };
    const fill = (key, value) =>
      Array.isArray(value) ? value.flat() : Object.hasOwn(values, value) ? values[value] : value;
    const spec = JSON.parse(byId("spec").textContent, fill);
    const chance = metric in data.chance ? [{ at: data.chance[metric] }] : [];
    return { ...spec, datasets: { results: points(shown, choice), chance, gaps: gaps(chosen, shown, rows) } };
  }

  async function draw(chosen, shown, choice, words) {
    const box = byId("chart");
    const turn = (latest += 1);
    box.hidden = shown.length === 0;
    if (box.hidden) return;
    const options = { mode: "vega-lite", renderer: "svg", actions: false, logLevel: 1 };
    const made = await window.vegaEmbed(box, specification(chosen, shown, choice, words), options);
    if (turn !== latest) return made.finalize();
    view?.finalize();
    view = made;
    made.view.addEventListener("click", (event, item) => item?.datum?.task && choose(item.datum));
  }

  // --- all together ------------------------------------------------------------------------------
  function matches(row, choice) {
    const ofData = !choice.dataset || [row.train_dataset, row.test_dataset].includes(choice.dataset);
    return ofData && Object.entries(choice).every(([n, v]) => !v || !(n in data.levels) || row[n] === v);
  }

  function render(unknown = []) {
    const choice = state();
    const chosen = results.filter((row) => matches(row, choice));
    const shown = chosen.filter((row) => row[choice.metric] !== null);
    const missing = chosen.filter((row) => row.reason);
    const undefinedHere = chosen.length - shown.length - missing.length;
    const parts = [`Shown: ${count(shown)} of ${count(results)} results`, `missing: ${missing.length}`];
    if (undefinedHere) parts.push(`without ${data.metrics[choice.metric]}: ${undefinedHere}`);
    const strange = unknown.length ? ` This build has no ${unknown.join(" and no ")}.` : "";
    const many = choice.metric === "auroc" && shown.length > MOST_INTERVALS;
    const hint = many ? ` Intervals are drawn where at most ${MOST_INTERVALS} results are shown.` : "";
    const buttons = chosen.length ? [] : undoButtons(choice);
    const way = buttons.length ? "Undo a filter below, or start again." : "No single filter is the reason: start again.";
    const nothing = `Nothing matches this choice: 0 of ${count(results)} results. ${way}`;
    byId("status").textContent = (chosen.length ? `${parts.join("; ")}.` : nothing) + strange + hint;
    byId("undo").replaceChildren(...buttons);
    byId("undo").hidden = buttons.length === 0;
    byId("table").parentElement.hidden = chosen.length === 0;
    byId("chosen").replaceChildren();
    fillTable([...shown, ...chosen.filter((row) => row[choice.metric] === null)]);
    listMissing(missing);
    const words = `${data.metrics[choice.metric]} by ${data.fields[choice.rows]}. ${parts[0]}, one dot each. ${data.mark}`;
    draw(chosen, shown, choice, words).catch((error) => {
      byId("status").textContent += ` The chart could not be drawn (${error.message}); the table has every number.`;
    });
  }

  form.hidden = false;
  form.addEventListener("change", () => (writeAddress(), render()));
  form.addEventListener("reset", () => setTimeout(() => (writeAddress(), render())));
  // A link to a place on the page, such as "Skip to main content", is no choice: the address keeps the one there is.
  const leadsToAPlace = () => window.location.hash && !window.location.hash.includes("=");
  window.addEventListener("hashchange", () => (leadsToAPlace() ? writeAddress() : render(readAddress())));
  render(readAddress());
})();
