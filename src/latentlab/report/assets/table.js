// The table of all models: goals, families, search, columns, order, the best of the shown models.
const table = $("#table"), body = table.tBodies[0];
const tableRows = $$("tr", body).map(element => ({element, row: rowOf[element.dataset.row]}));
const shownKeys = new Set(data.presets[0].keys);
const order = {key: "", sign: 1};
const families = [...new Set(names.map(name => rowOf[name].family))];
const hiddenFamilies = new Set();
const picked = new Set();

const isShown = ({row}) => row.family
  ? !hiddenFamilies.has(row.family) && matches(row, $("#search").value)
  : $("#baselines").checked;
const matches = (row, text) => text.toLowerCase().split(/\s+/).every(word =>
  `${row.name} ${row.title} ${row.family} ${(data.models[row.name].config["model.class_path"] || "")}`.toLowerCase().includes(word));

// Missing values are last in both orders; equal values keep the order of the project.
const compareRows = (a, b) => {
  if (order.key === "title") return order.sign * a.row.title.localeCompare(b.row.title, "en");
  const [x, y] = [a, b].map(({row}) => row.values[order.key]?.v ?? null);
  if (x === null || y === null) return (x === null) - (y === null);
  return order.sign * (x - y);
};
const arrange = () => {
  const sorted = order.key ? [...tableRows].sort(compareRows) : tableRows;
  const models = sorted.filter(each => each.row.family), baselines = sorted.filter(each => !each.row.family);
  body.append(...[...models, ...baselines].map(each => each.element));
  for (const each of tableRows) each.element.hidden = !isShown(each);
  for (const cell of $$("[data-key]", table)) {
    const key = cell.dataset.key;
    if (key !== "title") cell.hidden = !shownKeys.has(key);
    if (cell.tagName === "TH") cell.setAttribute("aria-sort",
      key !== order.key ? "none" : order.sign > 0 ? "ascending" : "descending");
  }
  markBest();
  drawScatter();
};
const markBest = () => {
  const visible = tableRows.filter(each => !each.element.hidden);
  for (const key of shownKeys) {
    const isBest = bestOf(key, visible.map(each => each.row));
    for (const {element, row} of tableRows) {
      const cell = element.querySelector(`td[data-key="${CSS.escape(key)}"]`);
      const best = Boolean(row.family && isBest(row));
      cell.classList.toggle("best", best);
      $(".sr", cell)?.remove();
      if (best) cell.append(h("span", {class: "sr"}, " best of the shown models"));
    }
  }
  const count = visible.filter(each => each.row.family).length;
  $("#search").setAttribute("aria-label", `Search models, ${count} shown`);
  body.classList.toggle("empty", !count);
};
const sortBy = (key, sign) => Object.assign(order, {key, sign});
const firstSign = key => key === "title" || metricOf[key]?.better <= 0 ? 1 : -1;

for (const head of $$("thead th[data-key]", table)) $("button", head).addEventListener("click", () => {
  const {key} = head.dataset;
  sortBy(key, order.key === key ? -order.sign : firstSign(key));
  arrange();
});
for (const button of $$("[data-preset]")) button.addEventListener("click", () => {
  const preset = data.presets.find(each => each.name === button.dataset.preset);
  shownKeys.clear();
  preset.keys.forEach(key => shownKeys.add(key));
  sortBy(preset.sort, preset.sort ? firstSign(preset.sort) : 1);
  for (const other of $$("[data-preset]")) other.setAttribute("aria-pressed", other === button);
  showColumns();
  arrange();
});
for (const chip of $$(".chips [data-family]")) chip.addEventListener("click", () => {
  const {family} = chip.dataset;
  const alone = families.every(each => each === family ? !hiddenFamilies.has(each) : hiddenFamilies.has(each));
  const all = !hiddenFamilies.size;
  // The first click on a family shows it alone, further clicks add and remove; never none.
  if (all) families.filter(each => each !== family).forEach(each => hiddenFamilies.add(each));
  else if (alone) hiddenFamilies.clear();
  else if (!hiddenFamilies.delete(family)) hiddenFamilies.add(family);
  for (const other of $$(".chips [data-family]")) other.setAttribute("aria-pressed", !hiddenFamilies.has(other.dataset.family));
  arrange();
  drawGallery();
});
$("#search").addEventListener("input", () => (arrange(), drawGallery()));
$("#baselines").addEventListener("change", arrange);
const columnBoxes = $$("#columns input");
const showColumns = () => columnBoxes.forEach(box => { box.checked = shownKeys.has(box.value); });
for (const box of columnBoxes) box.addEventListener("change", () => {
  box.checked ? shownKeys.add(box.value) : shownKeys.delete(box.value);
  for (const other of $$("[data-preset]")) other.setAttribute("aria-pressed", "false");
  arrange();
});
document.addEventListener("click", event => {
  if (!event.target.closest("#columns")) $("#columns").open = false;
});

// Ticks: two to four models to compare.
const MOST = 4;
const tray = $("#tray");
const ticks = $$(".tick input", body);
const showTray = () => {
  for (const tick of ticks) {
    tick.checked = picked.has(tick.value);
    tick.disabled = picked.size >= MOST && !tick.checked;
  }
  tray.hidden = !picked.size || location.hash.startsWith("#compare") || location.hash.startsWith("#lecture");
  const list = [...picked], enough = list.length > 1;
  tray.replaceChildren(
    h("span", {}, `${list.length} of ${MOST}: `, h("b", {}, list.join(", "))),
    enough ? h("a", {class: "button strong", href: compareHash(list)}, "Compare") : h("span", {class: "hint"}, "tick one more"),
    h("button", {type: "button", class: "button", click: () => (picked.clear(), showTray())}, "Clear"));
};
const compareHash = list => `#compare=${list.map(encodeURIComponent).join(",")}`;
for (const tick of ticks) tick.addEventListener("change", () => {
  tick.checked ? picked.add(tick.value) : picked.delete(tick.value);
  showTray();
});

// Thumbnails; on hover and on focus of the row's link, more of them and larger.
const peek = $("#peek");
const peeking = name => ({
  pointerenter: event => showPeek(name, event.currentTarget),
  pointerleave: hidePeek, focus: event => showPeek(name, event.currentTarget), blur: hidePeek, click: hidePeek,
});
const showPeek = (name, anchor) => {
  const sprite = spriteOf(name, "samples"), row = rowOf[name];
  if (!sprite) return;
  const line = ["fid", "reconstruction_mse", "probe_accuracy"].filter(key => row.values[key])
    .map(key => [metricOf[key].label, row.values[key].t, row.values[key].few && `(${fewText(row.values[key])})`].filter(Boolean).join(" ")).join(" · ");
  peek.replaceChildren(h("b", {}, row.title), h("span", {}, line),
    strip(sprite, range(24), {columns: 8, factor: factorFor(sprite, 42)}));
  peek.hidden = false;
  const at = anchor.getBoundingClientRect(), own = peek.getBoundingClientRect();
  const right = at.right + 12 + own.width < innerWidth;
  peek.style.left = `${right ? at.right + 12 : Math.max(8, at.left - own.width - 12)}px`;
  peek.style.top = `${clamp(at.top + at.height / 2 - own.height / 2, 60, Math.max(60, innerHeight - own.height - 12))}px`;
};
const hidePeek = () => { peek.hidden = true; };
for (const link of $$("[data-thumbs]")) {
  const sprite = spriteOf(link.dataset.thumbs, "samples");
  if (!sprite) continue;
  link.append(strip(sprite, range(4), {factor: factorFor(sprite, 28)}));
  for (const [type, listener] of Object.entries(peeking(link.dataset.thumbs))) link.addEventListener(type, listener);
}
