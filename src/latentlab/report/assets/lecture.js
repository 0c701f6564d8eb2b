// Lecture view: one figure a screen, arrow keys, large type.
const lecture = $("#lecture");
let slides = [], slide = 0;

const big = (sprite, indices, columns, label) => {
  const rows = Math.ceil(Math.min(indices.length, sprite.n) / columns);
  const space = Math.min(innerWidth * .86 / (columns * (sprite.w + 1)), innerHeight * .58 / (rows * (sprite.h + 1)));
  return strip(sprite, indices, {columns, factor: space >= 1 ? Math.floor(space) : space, label});
};
const makeSlides = () => {
  const list = [
    {title: $("h1").textContent, body: () => [h("p", {class: "large"}, $("#overview .lead").textContent), $(".facts").cloneNode(true)]},
    data.sprites.originals && {title: "Real test images", body: () => [big(data.sprites.originals, range(60), 12, "Real test images")]},
    {title: "Samples against reconstructions", body: () => [scatterChart(data.rows, 760) || ""]},
  ];
  for (const name of names) {
    const {title} = rowOf[name], article = articles.get(name), copy = selector => $$(selector, article).map(part => part.cloneNode(true));
    const samples = spriteOf(name, "samples"), copies = spriteOf(name, "reconstructions"), paths = spriteOf(name, "interpolations");
    list.push({model: name, title, body: () => [h("p", {class: "large"}, $(".summary", article).textContent), ...copy(".equation, .objective"), ...copy(".see").map(part => (part.classList.add("large"), part))]},
      samples && {title: `${title}: samples`, body: () => [big(samples, range(60), 12, `Samples of ${title}`)]},
      copies && {title: `${title}: reconstructions`, body: () => [h("p", {}, "Above: test images. Below: their reconstructions."), pairsLarge(name)]},
      paths && {title: `${title}: paths between codes`, body: () => [big(paths, range(40), 10, `Paths of ${title}`)]},
      spriteOf(name, "training_samples") && data.models[name].training.images.length > 1 && {title: `${title}: during training`, body: () => [trainingSlider(name)]},
      (data.models[name].map || data.models[name].plane) && {title: `${title}: map`, body: () => mapExplorer(name, clamp(Math.floor(innerHeight * .56), 260, 640))});
  }
  return list.filter(Boolean);
};
const pairsLarge = name => {
  const sprite = spriteOf(name, "reconstructions");
  return pairs(name, 20, 10, Math.floor(Math.min(innerWidth * .86 / 10, innerHeight * .52 / 4) / sprite.w) * sprite.w || sprite.w, `Reconstructions of ${rowOf[name].title}`);
};
const openLecture = index => {
  if (!slides.length) slides = makeSlides();
  slide = clamp(index, 0, slides.length - 1);
  const {title, body} = slides[slide];
  const heading = h("h2", {tabindex: -1}, title);
  const jump = h("select", {"aria-label": "Go to a model", change: event => goTo(+event.target.value)},
    h("option", {value: 0}, "Go to …"), slides.map((each, at) => each.model ? h("option", {value: at}, each.title) : null));
  lecture.replaceChildren(heading, h("div", {class: "stage"}, body()),
    h("div", {class: "bar"}, h("button", {type: "button", class: "button", "aria-label": "Previous figure", click: () => goTo(slide - 1), disabled: !slide}, "←"),
      h("span", {}, `${slide + 1} / ${slides.length}`), h("button", {type: "button", class: "button", "aria-label": "Next figure", click: () => goTo(slide + 1), disabled: slide === slides.length - 1}, "→"),
      jump, h("a", {class: "button", href: "#overview"}, "Close (Esc)")));
  lecture.hidden = false;
  document.documentElement.classList.add("lecturing");
  return heading;
};
const closeLecture = () => {
  lecture.hidden = true;
  lecture.replaceChildren();
  document.documentElement.classList.remove("lecturing");
};
const goTo = index => location.replace(`#lecture=${clamp(index, 0, slides.length - 1) + 1}`);
document.addEventListener("keydown", event => {
  if (lecture.hidden || event.altKey || event.ctrlKey || event.metaKey || event.target.closest("select")) return;
  const step = {ArrowRight: 1, ArrowDown: 1, PageDown: 1, " ": 1, ArrowLeft: -1, ArrowUp: -1, PageUp: -1}[event.key];
  if (event.key === " " && event.target.closest("button, a")) return;
  if (step) (event.preventDefault(), goTo(slide + step));
  if (event.key === "Home") goTo(0);
  if (event.key === "End") goTo(slides.length - 1);
  if (event.key === "Escape") location.hash = "#overview";
  if (event.key === "Tab") keepFocus(event);
});
// The rest of the page is covered: Tab stays inside.
const keepFocus = event => {
  const stops = $$("a, button:not([disabled]), select, input, [tabindex='0']", lecture);
  const edge = event.shiftKey ? stops[0] : stops.at(-1);
  if (event.target === edge || !lecture.contains(event.target)) {
    event.preventDefault();
    (event.shiftKey ? stops.at(-1) : stops[0]).focus();
  }
};
