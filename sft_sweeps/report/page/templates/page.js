"use strict";
(() => {
  const quiet = { labelColor: "currentColor", titleColor: "currentColor", titleFontWeight: "normal", titleFontSize: 12,
    labelFontSize: 12, domainColor: "currentColor", tickColor: "currentColor", gridColor: "currentColor",
    domainOpacity: 0.4, tickOpacity: 0.4, gridOpacity: 0.12 };
  const config = (width) => ({
    background: null, font: "system-ui, sans-serif", view: { stroke: null },
    axis: quiet,
    legend: { labelColor: "currentColor", titleColor: "currentColor", labelFontSize: 12, titleFontWeight: "normal",
      symbolBaseFillColor: "currentColor", symbolBaseStrokeColor: "currentColor",
      labelLimit: width - 40, layout: { top: { direction: width < 600 ? "vertical" : "horizontal", margin: 8, anchor: "start" } } },
    mark: { color: "currentColor" },
  });
  const parsed = (id) => JSON.parse(document.getElementById(id).textContent);

  async function draw(place, spec) {
    try {
      const options = { actions: false, renderer: "svg", ast: true, mode: "vega-lite", config: config(place.clientWidth) };
      const { view } = await vegaEmbed(place, spec, options);
      view.addEventListener("click", (event, item) => {
        const run = item && item.datum && item.datum.run;
        if (run) location.hash = "run-" + run;
      });
      place.dataset.drawn = "yes";
    } catch (error) {
      place.classList.add("failed");
      console.error(error);
    }
  }

  function drawLoss(place) {
    if (place.dataset.drawn) return;
    const spec = parsed("loss-spec");
    spec.data = { values: parsed("losses")[place.dataset.run] };
    draw(place, spec);
  }

  function open(hash) {
    const found = hash && document.getElementById(decodeURIComponent(hash.slice(1)));
    if (!found) return;
    for (let node = found; node; node = node.parentElement) if (node.tagName === "DETAILS") node.open = true;
    const first = found.querySelector(":scope > summary");
    if (first) first.focus({ preventScroll: true });
    found.scrollIntoView({ block: "start" });
  }

  function download(name) {
    const value = parsed(name);
    const text = typeof value === "string" ? value : JSON.stringify(value, null, 1);
    const link = document.createElement("a");
    link.href = URL.createObjectURL(new Blob([text], { type: "text/plain" }));
    link.download = name;
    link.click();
    setTimeout(() => URL.revokeObjectURL(link.href), 10000);
  }

  document.addEventListener("click", (event) => {
    const name = event.target.dataset && event.target.dataset.download;
    if (name) { event.preventDefault(); download(name); }
  });
  function drawFigure(figure) {
    const place = figure.querySelector(".chart");
    if (place.dataset.drawn || place.dataset.asked) return Promise.resolve();
    place.dataset.asked = "yes";
    return draw(place, JSON.parse(figure.querySelector(".spec").textContent));
  }

  document.addEventListener("toggle", (event) => {
    if (event.target.classList.contains("charts") && event.target.open) event.target.querySelectorAll("figure").forEach(drawFigure);
    if (event.target.classList.contains("run") && event.target.open) event.target.querySelectorAll(".loss").forEach(drawLoss);
  }, true);
  addEventListener("hashchange", () => open(location.hash));

  const find = document.getElementById("find");
  if (find) find.addEventListener("input", () => {
    const all = document.getElementById("all-runs");
    if (all && find.value) all.open = true;
    const words = find.value.toLowerCase().split(/\s+/);
    for (const run of document.querySelectorAll(".run")) {
      const label = run.querySelector("summary").textContent.toLowerCase();
      run.hidden = !words.every((word) => label.includes(word));
    }
  });

  let closed = [];
  addEventListener("beforeprint", () => {
    closed = [...document.querySelectorAll("details.numbers:not(.long):not([open])")];
    for (const one of closed) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of closed) one.open = false; });

  // One after the other, after the text is there to read.
  const pause = () => new Promise((resume) => setTimeout(resume));
  async function drawAll() {
    for (const figure of document.querySelectorAll("figure")) {
      await pause();
      if (!figure.closest("details:not([open])")) await drawFigure(figure);
    }
    document.body.dataset.drawn = "yes";
  }
  requestAnimationFrame(() => setTimeout(() => { open(location.hash); drawAll(); }));
})();
