// The model card: one is open at a time. The template has its text; pictures are added when opened.
const articles = new Map($$("article.model").map(article => [article.dataset.model, article]));

// Rows of originals above rows of reconstructions, and small numbers of images in between.
const pairs = (name, count, columns, width, label) => {
  const originals = data.sprites.originals, copies = spriteOf(name, "reconstructions");
  const most = Math.min(count, copies.n, originals?.n ?? copies.n);
  return h("div", {class: "pairs-of-rows"}, range(Math.ceil(most / columns)).map(row => {
    const shown = range(Math.min(columns, most - row * columns)).map(i => row * columns + i);
    return h("div", {class: "pair"},
      originals && strip(originals, shown, {columns, factor: factorFor(originals, width), label: row ? "" : "Test images"}),
      strip(copies, shown, {columns, factor: factorFor(copies, width), label: row ? "" : label}));
  }));
};
const openModel = name => {
  const article = articles.get(name);
  for (const other of articles.values()) other.classList.toggle("open", other === article);
  if (!article.dataset.filled) fillModel(name, article);
  const shown = tableRows.map(each => each.row).filter(row => row.family).map(row => row.name);
  const at = shown.indexOf(name);
  for (const link of $$("[data-step]", article)) {
    const next = shown[(at + Number(link.dataset.step) + shown.length) % shown.length];
    link.href = modelLink(next);
    link.title = rowOf[next].title;
  }
  return $("h2", article);
};
const fillModel = (name, article) => {
  article.dataset.filled = "yes";
  const place = $(".pictures", article), title = rowOf[name].title, section = (heading, text, ...content) =>
    h("section", {}, h("h3", {}, heading), h("p", {class: "hint"}, text), ...content);
  const samples = spriteOf(name, "samples"), paths = spriteOf(name, "interpolations"), {mapFigure} = data.models[name];
  place.append(...[
    samples && section("Samples", KINDS.samples[1],
      strip(samples, range(samples.n), {columns: 8, factor: factorFor(samples, 56), label: `Samples of ${title}`})),
    spriteOf(name, "reconstructions") && section("Reconstructions", "Test images, and below each row its reconstructions.",
      pairs(name, 24, 8, 56, `Reconstructions of ${title}`)),
    paths && section("Paths in the latent space", KINDS.interpolations[1],
      strip(paths, range(paths.n), {columns: 10, factor: factorFor(paths, 56), label: `Paths of ${title}`})),
    trainingSlider(name),
    ...(mapExplorer(name) || []),
    mapFigure && section("Map of features (t-SNE)", KINDS.map[1], h("img", {
      class: "map", alt: `Map of features of ${title}`, width: mapFigure.w, height: mapFigure.h, src: `data:image/webp;base64,${pictures[mapFigure.src]}`})),
  ].filter(Boolean));
  if (!place.children.length) place.append(h("p", {class: "hint"}, "no figures"));
  const curves = data.models[name].curves;
  $(".curves", article).append(...curves.length ? curves.map(curve => lineChart({
    title: curve.label, missing: curve.missing, lines: linesOf(curve),
  })) : [h("p", {class: "hint"}, "no curves")]);
  fillFigures(article);
};
const SPLITS = {train: ["training", "var(--soft)"], val: ["validation", "var(--accent)"]};
const linesOf = curve => Object.entries(curve.lines).map(([split, [x, y]]) => {
  const [name, color] = SPLITS[split] || [split, "var(--ink)"];
  return {name, color, x, y};
});
for (const button of $$("[data-copy]")) button.addEventListener("click", async () => {
  const text = button.dataset.copy;
  try {
    await navigator.clipboard.writeText(text);
    button.textContent = "Copied";
  } catch {
    getSelection().selectAllChildren(button.previousElementSibling);
    button.textContent = "Selected";
  }
  setTimeout(() => { button.textContent = "Copy"; }, 1600);
});
for (const link of $$("[data-add]")) link.addEventListener("click", event => {
  const others = [...picked].filter(name => name !== link.dataset.add).slice(0, MOST - 1);
  if (!others.length) others.push(names.find(name => name !== link.dataset.add) ?? link.dataset.add);
  event.preventDefault();
  location.hash = compareHash([link.dataset.add, ...others]);
});

// The small cards of a printed page. Canvases must be painted before somebody prints.
const fillPrints = async () => {
  for (const [name, article] of articles) {
    const place = $(".prints", article), samples = spriteOf(name, "samples"), copies = spriteOf(name, "reconstructions");
    const parts = [
      samples && [h("span", {}, "Samples"), strip(samples, range(24), {columns: 12, factor: factorFor(samples, 28)})],
      copies && [h("span", {}, "Test images and reconstructions"), pairs(name, 12, 12, 28, "")],
    ].filter(Boolean).map(part => h("div", {}, part));
    place.replaceChildren(...parts);
    await Promise.all([samples, copies].filter(Boolean).map(sprite => imageOf(sprite.src)));
  }
};
