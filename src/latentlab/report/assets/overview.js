// The scatter plot, the headlines' pictures and the gallery.
const scatterBox = $("#scatter");
const drawScatter = () => {
  const rows = tableRows.filter(each => !each.element.hidden).map(each => each.row);
  const chart = scatterBox.clientWidth ? scatterChart(rows, scatterBox.clientWidth) : null;
  $("svg", scatterBox)?.remove();
  $(".hint", scatterBox)?.remove();
  scatterBox.prepend(chart || h("p", {class: "hint"}, "A scatter plot needs two models with both metrics."));
  $("figcaption", scatterBox).hidden = !chart;
};
let scatterWidth = 0;
new ResizeObserver(() => {
  if (scatterBox.clientWidth === scatterWidth || !scatterBox.clientWidth) return;
  scatterWidth = scatterBox.clientWidth;
  drawScatter();
}).observe(scatterBox);

for (const place of $$("[data-headline]")) {
  const {headline: name, kind} = place.dataset, samples = spriteOf(name, "samples"), {map} = data.models[name];
  const title = rowOf[name].title;
  if (kind === "fid" && samples) place.append(strip(samples, range(24), {columns: 12, factor: factorFor(samples, 28), label: `Samples of ${title}`}));
  if (kind === "reconstruction_mse" && spriteOf(name, "reconstructions")) place.append(pairs(name, 12, 12, 28, `Reconstructions of ${title}`));
  if (kind === "probe_accuracy" && map) place.append(mapPlot(map, 120));
}

const KINDS = {
  samples: ["Samples", "Images decoded from sampled codes. They are not selected by hand."],
  reconstructions: ["Reconstructions", "The same test images for every model, after the real ones."],
  interpolations: ["Paths", "Each row: images decoded from codes between those of two test images."],
  map: ["Maps", "Features of test images in two dimensions (t-SNE), or the codes if they are two numbers. The color is the class."],
};
let galleryKind = "samples";
const kinds = Object.keys(KINDS).filter(kind => names.some(name =>
  kind === "map" ? data.models[name].map : spriteOf(name, kind)));
$("#gallery-kinds").append(...kinds.map(kind => h("button", {
  type: "button", "aria-pressed": kind === galleryKind,
  click: event => {
    galleryKind = kind;
    for (const other of $$("#gallery-kinds button")) other.setAttribute("aria-pressed", other === event.currentTarget);
    drawGallery();
  },
}, KINDS[kind][0])));

const contentOf = (name, kind, large = false) => {
  if (kind === "map") return data.models[name].map ? mapPlot(data.models[name].map, large ? 520 : 210) : null;
  const sprite = name === null ? data.sprites.originals : spriteOf(name, kind);
  if (!sprite) return null;
  const columns = kind === "interpolations" ? 10 : 8;
  const count = large ? 64 : kind === "interpolations" ? 40 : 32;
  const title = name === null ? "Real test images" : `${KINDS[kind][0]} of ${rowOf[name].title}`;
  const size = large ? factorFor(sprite, 64) : factorFor(sprite, 28);
  return strip(sprite, range(Math.min(count, sprite.n)), {columns, factor: size, label: title});
};
const drawGallery = () => {
  const grid = $("#gallery-grid"), kind = galleryKind;
  if (!kinds.length) return void ($("#gallery").hidden = true);
  $("#gallery-note").textContent = KINDS[kind][1];
  const shown = tableRows.filter(each => each.row.family && isShown(each)).map(each => each.row.name);
  const real = kind !== "map" && kind !== "interpolations" && data.sprites.originals;
  const cards = [...(real ? [null] : []), ...shown].map(name => {
    const content = contentOf(name, kind);
    if (!content) return null;
    const title = name === null ? "Real test images" : rowOf[name].title;
    return h("figure", {class: name === null ? "real" : ""},
      zoomable(content, `${title}, ${KINDS[kind][0].toLowerCase()}`, () => contentOf(name, kind, true)),
      h("figcaption", {}, name === null ? title : [mark(rowOf[name].family), h("a", {href: modelLink(name)}, title)]));
  });
  grid.replaceChildren(...cards.filter(Boolean));
};
whenNear($("#gallery"), drawGallery);
for (const part of $$("#tasks, #dataset")) whenNear(part, () => fillFigures(part));
