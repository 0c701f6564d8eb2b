// Two to four models side by side: the same test images, the same paths, curves on common axes.
const compareView = $("#view-compare");
const COMPARE_COLORS = ["var(--c0)", "var(--c1)", "var(--c2)", "var(--c3)"];
const DASHES = [undefined, "7 3", "2 3", "9 3 2 3"];
let zoom = 2, offset = 0;

const openCompare = list => {
  picked.clear();
  list.forEach(name => picked.add(name));
  const title = h("h2", {tabindex: -1}, "Compare ", listOf(list.map(name => rowOf[name].title)));
  compareView.replaceChildren(
    h("header", {class: "compare-head"}, title, chooser(list)),
    section("Differences", differencesNote(list), differences(list)),
    imagesSection(list), pathsSection(list), samplesSection(list), curvesSection(list), configSection(list));
  return title;
};
const section = (heading, note, ...content) =>
  h("section", {}, h("h3", {}, heading), note && h("p", {class: "hint"}, note), ...content);
const swatchOf = (list, name) => swatch({color: COMPARE_COLORS[list.indexOf(name)], dash: DASHES[list.indexOf(name)]});
const nameTag = (list, name) => h("span", {class: "name-tag"}, swatchOf(list, name),
  h("a", {href: modelLink(name), title: rowOf[name].title}, rowOf[name].title.length > 24 ? name : rowOf[name].title));

const chooser = list => {
  const change = next => { location.hash = compareHash(next); };
  const others = names.filter(name => !list.includes(name));
  return h("div", {class: "chooser"}, list.map(name => h("span", {class: "chip"}, nameTag(list, name),
    list.length > 2 && h("button", {type: "button", "aria-label": `Remove ${rowOf[name].title}`, click: () => change(list.filter(each => each !== name))}, "×"))),
  list.length < MOST && others.length > 0 && h("select", {"aria-label": "Add a model", change: event => change([...list, event.target.value])},
    h("option", {value: ""}, "Add a model …"), others.map(name => h("option", {value: name}, rowOf[name].title))));
};

// All metrics that one of the models has; of two models, also the difference.
const differencesNote = list => list.length !== 2 ? "The best value is marked, with ties." : [
  "The last column is the second model minus the first, with its 95 % interval where there is one. ",
  Object.keys(data.pairs).length > 0 && [h("code", {}, "latentlab compare"), " prints the same numbers. Both models are compared on the same test images: if one was measured on some of them only, this is not the difference of the two columns. "],
  "The better value is marked; if both tie, neither is."];
const differences = list => {
  const rows = list.map(name => rowOf[name]), bounds = [rowOf.real].filter(Boolean);
  const keys = data.metrics.filter(metric => rows.some(row => row.values[metric.key]));
  const cellText = cell => cell ? `${cell.t}${cell.spread ? ` ± ${cell.spread}` : ""}` : "–";
  return h("div", {class: "scroll"}, h("table", {class: "numbers differences"},
    h("thead", {}, h("tr", {}, h("td", {}), list.map(name => h("th", {scope: "col"}, nameTag(list, name))),
      bounds.map(row => h("th", {scope: "col"}, row.title)), list.length === 2 && h("th", {scope: "col"}, "Difference"))),
    h("tbody", {}, keys.map(metric => {
      const isBest = bestOf(metric.key, rows);
      return h("tr", {}, h("th", {scope: "row", title: metric.meaning}, metric.label, " ", h("span", {class: "arrow", "aria-hidden": "true"}, {1: "↑", "-1": "↓", 0: ""}[metric.better])),
        rows.map(row => {
          const cell = row.values[metric.key], best = isBest(row);
          return h("td", {class: best ? "best" : undefined, title: fewText(cell)}, h("span", {}, cellText(cell)), best && h("span", {class: "sr"}, " best"));
        }), bounds.map(row => h("td", {class: "bound"}, cellText(row.values[metric.key]))),
        list.length === 2 && h("td", {}, difference(metric, rows)));
    }))));
};
// The stored difference of two models (report/pairs.py), second minus first.
const storedPair = (key, ...pair) => {
  const [a, b] = pair.map(row => names.indexOf(row.name)), i = Math.min(a, b), j = Math.max(a, b);
  const entry = data.pairs[key]?.[i * (2 * names.length - i - 1) / 2 + j - i - 1];
  if (!entry || a < b) return entry;
  const [value, low, high, ...how] = entry;
  return low === undefined ? [-value] : [-value, -high, -low, ...how];
};
const signed = (metric, value) => {
  const text = metric.key === "num_parameters" ? short(value) : value.toLocaleString("en-US", {minimumFractionDigits: metric.decimals, maximumFractionDigits: metric.decimals});
  return `${value > 0 ? "+" : ""}${text}`.replace("-", "−");
};
const difference = (metric, [first, second]) => {
  const {key} = metric, [a, b] = [first.values[key], second.values[key]];
  // Likelihoods of different kinds have different units.
  if (!a || !b || a.v === null || b.v === null || !(metric.better || metric.group === "Cost")) return "–";
  const [value, low, high, method, images] = storedPair(key, first, second) || [];
  const different = a.few !== b.few && images === undefined ? "measured on different images" : "";
  if (value === undefined) {
    if (different) return different;
    const tie = data.ties[key]?.[first.name]?.includes(second.name);
    return `${signed(metric, (b.v - a.v) * metric.factor)}${tie ? " (within its interval)" : ""}`;
  }
  if (low === undefined) return [signed(metric, value), different].filter(Boolean).join(", ");
  const count = images < data.images ? `${grouped(images)} images` : "";
  return h("span", {title: `95 % interval by ${images ? `${grouped(images)} ` : ""}${data.methods[method]}`},
    [`${signed(metric, value)} [${signed(metric, low)}, ${signed(metric, high)}]`, count, different].filter(Boolean).join(", "));
};

// Rows of images with the names of the models at the left. One zoom for all.
const applyZoom = () => compareView.style.setProperty("--zoom", zoom);
const zoomSlider = () => {
  const sprite = data.sprites.originals || spriteOf([...picked][0], "samples");
  const most = Math.max(2, Math.floor(160 / (sprite?.w ?? 28)));
  zoom = clamp(zoom, 1, most);
  applyZoom();
  return h("label", {class: "slider"}, "Zoom", h("input", {type: "range", min: 1, max: most, step: 1, value: zoom, "aria-label": "Zoom of all pictures",
    input: event => { zoom = +event.target.value; applyZoom(); for (const other of $$(".zoom-all", compareView)) other.value = zoom; }, class: "zoom-all"}));
};
const aligned = rows => h("div", {class: "aligned", tabindex: 0, role: "region", "aria-label": "Aligned pictures"},
  rows.map(([label, canvas]) => h("div", {class: "aligned-row"}, h("div", {class: "aligned-name"}, label), canvas)));
const zoomed = canvas => (canvas.classList.add("zoomed"), canvas);

const IMAGES = 24;
const imagesSection = list => {
  const have = list.filter(name => spriteOf(name, "reconstructions")), originals = data.sprites.originals;
  if (!have.length) return section("The same test images", "No reconstructions are stored.");
  const most = Math.min(...have.map(name => spriteOf(name, "reconstructions").n), originals?.n ?? Infinity);
  offset = clamp(offset, 0, Math.max(0, most - IMAGES));
  const place = h("div", {}), where = h("output", {});
  const draw = () => {
    const shown = range(Math.min(IMAGES, most)).map(i => offset + i);
    where.textContent = `test images ${offset + 1} to ${offset + shown.length} of ${most}`;
    place.replaceChildren(aligned([
      ...(originals ? [["Test images", zoomed(strip(originals, shown, {label: "Test images"}))]] : []),
      ...have.map(name => [nameTag(list, name), zoomed(strip(spriteOf(name, "reconstructions"), shown, {label: `Reconstructions of ${rowOf[name].title}`}))])]));
  };
  draw();
  return section("The same test images", "Each column is one test image, with its reconstruction by each model.",
    h("div", {class: "controls"}, zoomSlider(), most > IMAGES && h("label", {class: "slider"}, "Images",
      h("input", {type: "range", min: 0, max: most - IMAGES, step: 1, value: offset, "aria-label": "First test image", input: event => { offset = +event.target.value; draw(); }})), where), place);
};
const pathsSection = list => {
  const have = list.filter(name => spriteOf(name, "interpolations"));
  if (!have.length) return null;
  const count = Math.min(...have.map(name => Math.floor(spriteOf(name, "interpolations").n / 10)));
  return section("The same paths", "Each block: from the code of one test image to that of another, by each model.",
    h("div", {class: "paths"}, range(count).map(path => aligned(have.map(name =>
      [h("span", {}, swatchOf(list, name), name), zoomed(strip(spriteOf(name, "interpolations"), range(10).map(i => path * 10 + i), {label: `Path ${path + 1} of ${rowOf[name].title}`}))])))));
};
const samplesSection = list => {
  const have = list.filter(name => spriteOf(name, "samples"));
  return have.length ? section("Samples", "Not selected by hand.", h("div", {class: "side-by-side"}, have.map(name =>
    h("figure", {}, h("figcaption", {}, nameTag(list, name)), zoomed(strip(spriteOf(name, "samples"), range(32), {columns: 8, label: `Samples of ${rowOf[name].title}`})))))) : null;
};

// Curves of one quantity on common axes: those of several models first.
const curvesSection = list => {
  const quantities = new Map();
  for (const name of list) for (const curve of data.models[name].curves) {
    if (!quantities.has(curve.key)) quantities.set(curve.key, {label: curve.label, lines: [], models: new Set(), missing: 0});
    const chart = quantities.get(curve.key), index = list.indexOf(name);
    const split = curve.lines.val ? "val" : Object.keys(curve.lines)[0], [x, y] = curve.lines[split];
    chart.lines.push({name: `${name}${split === "val" ? "" : ", training"}`, color: COMPARE_COLORS[index], dash: DASHES[index], x, y});
    chart.models.add(name);
    chart.missing += curve.missing || 0;
  }
  const charts = [...quantities.values()], shared = charts.filter(chart => chart.models.size > 1), own = charts.filter(chart => chart.models.size < 2);
  const draw = all => h("div", {class: "curves"}, all.map(chart => lineChart({title: chart.label, lines: chart.lines, missing: chart.missing})));
  if (!charts.length) return null;
  return section("Curves", "Of the validation images where they were measured, else of the training. Losses of different models can have different units.",
    shared.length ? draw(shared) : h("p", {class: "hint"}, "The models have no quantity in common."),
    own.length > 0 && h("details", {}, h("summary", {}, `Quantities of one model (${own.length})`), draw(own)));
};

const configSection = list => {
  const configs = list.map(name => data.models[name].config);
  const keys = [...new Set(configs.flatMap(config => Object.keys(config)))].filter(key =>
    key !== "title" && key !== "summary" && new Set(configs.map(config => config[key])).size > 1);
  const values = keys.map(key => h("tr", {}, h("th", {scope: "row"}, h("code", {}, key)), configs.map(config => h("td", {}, config[key] ?? "–"))));
  return section("Difference of the configurations", keys.length ? "Only the settings that differ. “–” means not set." : "The configurations are equal.",
    keys.length > 0 && h("div", {class: "scroll"}, h("table", {class: "numbers texts"},
      h("thead", {}, h("tr", {}, h("td", {}), list.map(name => h("th", {scope: "col"}, nameTag(list, name))))), h("tbody", {}, values))));
};
