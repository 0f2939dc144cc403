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
    header: { labelColor: "currentColor", labelFontSize: 12, labelFontWeight: "normal" },
    mark: { color: "currentColor" },
  });
  const parsed = (id) => JSON.parse(document.getElementById(id).textContent);

  // Panels side by side share the width; a narrow window has one below the other.
  function fit(spec, width) {
    if (!spec.facet) return;
    const gap = 20, frame = 12;
    spec.columns = Math.max(1, Math.min(spec.columns, Math.floor(width / 240)));
    spec.spec.width = Math.floor((width - gap * (spec.columns - 1) - frame) / spec.columns);
  }

  async function draw(place, spec) {
    try {
      fit(spec, place.clientWidth);
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

  // One stage after the other along a run's steps; a stage's curve is kept once, however many runs share it.
  function drawLoss(place) {
    if (place.dataset.drawn) return;
    const spec = parsed("loss-spec"), curves = parsed("loss-curves"), values = [];
    let before = 0;
    parsed("losses")[place.dataset.run].forEach(([id, steps], number) => {
      const { label, steps: at, losses } = curves[id] || { steps: [] };
      at.forEach((step, n) => values.push({ step: before + step, loss: losses[n], stage: String(number + 1), label }));
      before += steps;
    });
    spec.data = { values };
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
    figure.drawing ||= draw(figure.querySelector(".chart"), JSON.parse(figure.querySelector(".spec").textContent));
    return figure.drawing;
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
    shown().forEach(drawFigure);
    closed = [...document.querySelectorAll("details.numbers:not(.long):not([open])")];
    for (const one of closed) one.open = true;
  });
  addEventListener("afterprint", () => { for (const one of closed) one.open = false; });

  // What comes into view is drawn at once; the others one by one while nothing else is to do, for whoever prints.
  const shown = () => [...document.querySelectorAll("figure")].filter((one) => !one.closest("details:not([open])"));
  const idle = window.requestIdleCallback || ((resume) => setTimeout(resume, 50));
  async function drawRest() {
    for (const figure of shown()) {
      await new Promise((resume) => idle(resume, { timeout: 500 }));
      await drawFigure(figure);
    }
    document.body.dataset.drawn = "yes";
  }
  const watch = new IntersectionObserver((entries) => {
    for (const entry of entries) if (entry.isIntersecting) { watch.unobserve(entry.target); drawFigure(entry.target); }
  }, { rootMargin: "300px" });
  open(location.hash);
  document.querySelectorAll("figure").forEach((figure) => watch.observe(figure));
  requestAnimationFrame(() => setTimeout(drawRest));
})();
