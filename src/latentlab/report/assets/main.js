// The view follows the address: #model=vae, #compare=vae,gan, #lecture=3, or a section.
const views = {overview: $("#view-overview"), model: $("#view-model"), compare: compareView};
let current = "overview", scrolled = 0;

const readAddress = () => {
  const [, kind, value = ""] = location.hash.match(/^#(\w+)(?:=(.*))?$/) || [];
  const list = value.split(",").map(part => {
    try { return decodeURIComponent(part); } catch { return part; }
  });
  const known = [...new Set(list)].filter(name => names.includes(name)).slice(0, MOST);
  if (kind === "model" && known.length) return {view: "model", name: known[0]};
  if (kind === "compare" && known.length > 1) return {view: "compare", list: known};
  if (kind === "compare" && known.length) return {view: "model", name: known[0]};
  if (kind === "lecture") return {view: "lecture", index: (parseInt(value, 10) || 1) - 1};
  return {view: "overview", section: kind && document.getElementById(kind)};
};
const route = first => {
  const to = readAddress();
  hidePeek();
  if (to.view === "lecture") {
    openLecture(to.index).focus({preventScroll: true});
    return showTray();
  }
  closeLecture();
  if (current === "overview" && to.view !== "overview") scrolled = scrollY;
  for (const [name, view] of Object.entries(views)) view.hidden = name !== to.view;
  const cameBack = to.view === "overview" && current !== "overview";
  current = to.view;
  let heading = null;
  if (to.view === "model") heading = openModel(to.name);
  if (to.view === "compare") heading = openCompare(to.list);
  document.title = `${heading ? `${heading.textContent.trim()} · ` : ""}latentlab · ${data.name}`;
  if (heading) {
    scrollTo({top: 0, behavior: "instant"});
    if (first !== true) heading.focus({preventScroll: true});
  } else if (to.section && to.section.id !== "overview") to.section.scrollIntoView();
  else if (cameBack) scrollTo({top: to.section ? 0 : scrolled, behavior: "instant"});
  else if (to.section) scrollTo({top: 0});
  showTray();
};
addEventListener("hashchange", route);

const theme = $("#theme"), dark = matchMedia("(prefers-color-scheme: dark)");
theme.addEventListener("click", () => {
  const root = document.documentElement, isDark = root.dataset.theme ? root.dataset.theme === "dark" : dark.matches;
  root.dataset.theme = isDark ? "light" : "dark";
});

document.documentElement.classList.remove("no-script");
for (const view of [views.model, views.compare]) view.hidden = true;
showColumns();
arrange();
showTray();
route(true);
const idle = window.requestIdleCallback || (run => setTimeout(run, 300));
idle(fillPrints);
addEventListener("beforeprint", () => {
  closeLecture();
  $$("#tasks, #dataset").forEach(fillFigures);
});
