"use strict";
const NARROW = 640, AXIS = 75;

function fit(spec, width) {
  // Panels side by side where there is room, below one another where not; each as wide as its place.
  const columns = width < NARROW ? 1 : spec.usermeta.columns;
  const each = Math.max(160, Math.floor(width / columns) - AXIS - (spec.usermeta.legend || 0));
  if (spec.facet) { spec.columns = columns; spec.spec.width = Math.max(150, Math.floor((width - AXIS) / columns) - 25); }
  if (spec.concat) { spec.columns = columns; }
  for (const view of spec.concat || spec.vconcat || []) { view.width = each; }
  const legend = spec.config.legend || (spec.config.legend = {});
  legend.columns = Math.max(1, Math.floor(width / 170));
  return spec;
}

function show(group, index, picked) {
  const spec = JSON.parse(document.getElementById("spec-" + group + "-" + index).textContent);
  const place = document.getElementById("chart-" + group);
  place.dataset.index = index;
  if (picked) {
    for (const one of spec.params.filter(param => param.name === "policy")) { one.value = [{policy: picked}]; }
  }
  const options = {renderer: "svg", actions: {export: true, source: false, compiled: false, editor: false}};
  return vegaEmbed(place, fit(spec, place.clientWidth), options)
    .then(() => place.querySelectorAll("summary").forEach(one => one.setAttribute("aria-label", "Save this chart as SVG or PNG")))
    .catch(error => { place.textContent = "This chart could not be drawn: " + error.message; });
}

function redraw(place) {
  const group = place.id.slice("chart-".length);
  const pick = document.querySelector('.picker[data-group="' + group + '"]');
  return show(group, place.dataset.index || 0, pick && pick.value);
}

const places = Array.from(document.querySelectorAll(".chart"));
document.querySelectorAll(".chooser").forEach(box => box.addEventListener("change", () => {
  document.getElementById("chart-" + box.dataset.group).dataset.index = box.value;
  document.querySelectorAll('figcaption[data-group="' + box.dataset.group + '"]').forEach(one => { one.hidden = one.dataset.index !== box.value; });
  redraw(document.getElementById("chart-" + box.dataset.group));
}));
document.querySelectorAll(".picker").forEach(box => box.addEventListener("change", () => redraw(document.getElementById("chart-" + box.dataset.group))));

const filter = document.getElementById("filter");
if (filter) filter.addEventListener("change", () => document.querySelectorAll("#claims-table tbody[data-fails]").forEach(row => {
  row.hidden = filter.value !== "all" && (row.dataset.fails === "True") !== (filter.value === "fails");
}));

let width = document.body.clientWidth, waiting = 0;
window.addEventListener("resize", () => {
  clearTimeout(waiting);
  waiting = setTimeout(() => {
    if (document.body.clientWidth !== width) { width = document.body.clientWidth; places.forEach(redraw); }
  }, 200);
});
window.addEventListener("beforeprint", () => document.querySelectorAll("details").forEach(one => { one.open = true; }));
Promise.all(places.map(redraw)).then(() => {
  document.body.dataset.ready = "yes";
  document.body.dataset.readyMs = Math.round(performance.now());
});
