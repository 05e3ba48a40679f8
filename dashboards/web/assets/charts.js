"use strict";

// The charts of a flow's page. The page itself is refreshed by htmx, which
// leaves what is drawn here alone; this asks for the data and draws it anew.
(() => {
  const every = 10_000; // ms, a flush
  const axisHeight = 26;
  const plots = new Map(); // id of a chart -> {plot, chart}
  let data, address, asked = 0, pending;

  const css = (name) => getComputedStyle(document.documentElement).getPropertyValue(name).trim();
  const colours = () => ({
    ink: css("--ink"), muted: css("--muted"), line: css("--line"), page: css("--page"),
    burning: css("--burning"), spending: css("--spending"), calm: css("--calm"), idle: css("--idle"),
  });
  let ink = colours();

  // Numbers as the rest of the page writes them.
  const fixed = (v, digits) => v.toLocaleString("en", { minimumFractionDigits: digits, maximumFractionDigits: digits });
  const write = {
    seconds: (v) => v < 0.00995 ? `${fixed(v * 1000, 1)} ms` : v < 0.9995 ? `${fixed(v * 1000, 0)} ms` : v < 9.95 ? `${fixed(v, 1)} s` : `${fixed(v, 0)} s`,
    share: (v) => {
      const p = v * 100, a = Math.abs(p);
      return a === 0 ? "0%" : a >= 9.95 ? `${fixed(p, 0)}%` : a >= 0.995 ? `${fixed(p, 1)}%` : a >= 0.01 ? `${fixed(p, 2)}%` : "<0.01%";
    },
    rate: (v) => v === 0 ? "0/s" : v >= 9.95 ? `${fixed(v, 0)}/s` : v >= 1 ? `${fixed(v, 1)}/s` : v >= 1 / 60 ? `${fixed(v * 60, 0)}/min` : `${fixed(v * 3600, 0)}/h`,
    burn: (v) => v === 0 ? "0×" : v >= 9.95 ? `${fixed(v, 0)}×` : v >= 0.05 ? `${fixed(v, 1)}×` : "<0.1×",
  };
  // On an axis, where values are round.
  const tick = {
    seconds: (v) => v === 0 ? "0" : v < 1 ? `${+(v * 1000).toPrecision(4)} ms` : `${+v.toPrecision(4)} s`,
    share: (v) => `${+(v * 100).toPrecision(4)}%`,
    rate: (v) => v === 0 ? "0" : v >= 1 ? `${(+v.toPrecision(4)).toLocaleString("en")}/s` : `${+(v * 60).toPrecision(3)}/min`,
    burn: (v) => `${v.toLocaleString("en")}×`,
  };

  // Days and hours, in the zone of the reader.
  const pad = (n) => String(n).padStart(2, "0");
  const day = (d) => d.toLocaleDateString("en-GB", { day: "numeric", month: "short" });
  const hour = (d) => `${pad(d.getHours())}:${pad(d.getMinutes())}`;
  const moment = (t) => {
    const d = new Date(t * 1000);
    return `${day(d)} ${hour(d)}`;
  };
  const times = (u, splits) => {
    const wide = u.scales.x.max - u.scales.x.min > 3 * 86400;
    return splits.map((t, i) => {
      const d = new Date(t * 1000);
      return wide || (d.getHours() === 0 && d.getMinutes() === 0 && i > 0) ? day(d) : hour(d);
    });
  };

  const burnTicks = [0, 1, 3, 10, 30, 100, 300, 1000, 3000, 10000];
  const scaleOf = (chart) => {
    if (chart.unit === "burn") {
      // Near zero as it is, far above by powers: 1× and 1,000× can both be read.
      return { distr: 4, asinh: 1, range: (u, min, max) => [0, Math.max(30, (max || 0) * 1.2)] };
    }
    const limits = (chart.limits || []).map((l) => l.value);
    return {
      range: (u, min, max) => {
        let top = Math.max(max ?? 0, ...limits.map((l) => l * 1.1), 1e-9) * 1.2, bottom = 0; // deploys have their flags on top
        if (chart.id.startsWith("budget")) {
          top = 1.02;
          bottom = Math.min(0, min ?? 0, chart.ahead ? Math.max(-0.2, chart.ahead.end) : 0);
        }
        if (chart.unit === "share") top = Math.min(top, 1.02);
        return [bottom, top];
      },
    };
  };

  // What is behind the lines: alerts as bands, exclusions hatched.
  let hatch;
  const hatching = () => {
    if (hatch) return hatch;
    const tile = document.createElement("canvas");
    tile.width = tile.height = 8;
    const c = tile.getContext("2d");
    c.strokeStyle = ink.idle;
    c.globalAlpha = 0.4;
    c.beginPath();
    c.moveTo(-2, 10); c.lineTo(10, -2); c.moveTo(-2, 2); c.lineTo(2, -2); c.moveTo(6, 10); c.lineTo(10, 6);
    c.stroke();
    return hatch = c.createPattern(tile, "repeat");
  };
  const behind = (u) => {
    const { ctx, bbox } = u;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    for (const b of data.bands) {
      const x0 = u.valToPos(b.from, "x", true), x1 = u.valToPos(b.to, "x", true);
      const width = Math.max(2 * devicePixelRatio, x1 - x0);
      if (b.kind === "excluded") {
        ctx.fillStyle = hatching();
        ctx.fillRect(x0, bbox.top, width, bbox.height);
        continue;
      }
      ctx.fillStyle = b.kind === "page" ? ink.burning : ink.spending;
      ctx.globalAlpha = 0.12;
      ctx.fillRect(x0, bbox.top, width, bbox.height);
      ctx.globalAlpha = 1;
      ctx.fillRect(x0, bbox.top, width, 3 * devicePixelRatio);
    }
    ctx.restore();
  };

  // What is before them: limits with their words, the budget ahead, deploys.
  const before = (chart) => (u) => {
    const { ctx, bbox } = u, r = devicePixelRatio;
    const right = bbox.left + bbox.width, bottom = bbox.top + bbox.height;
    ctx.save();
    ctx.beginPath();
    ctx.rect(bbox.left, bbox.top, bbox.width, bbox.height);
    ctx.clip();
    ctx.font = `${12 * r}px system-ui, sans-serif`;
    ctx.lineWidth = r;
    const label = (text, x, y, colour) => {
      ctx.strokeStyle = ink.page;
      ctx.lineWidth = 4 * r;
      ctx.lineJoin = "round";
      ctx.setLineDash([]);
      ctx.strokeText(text, x, y);
      ctx.fillStyle = colour;
      ctx.fillText(text, x, y);
      ctx.lineWidth = r;
    };
    const taken = [];
    for (const l of chart.limits || []) {
      const y = Math.round(u.valToPos(l.value, "y", true)) + 0.5;
      const colour = l.state ? ink[l.state] : ink.muted;
      ctx.strokeStyle = colour;
      ctx.setLineDash([5 * r, 4 * r]);
      ctx.beginPath();
      ctx.moveTo(bbox.left, y);
      ctx.lineTo(right, y);
      ctx.stroke();
      // Words that would lie on others stay away; the table below has them.
      if (taken.every((t) => Math.abs(t - y) >= 14 * r) && y - 20 * r > bbox.top) {
        ctx.textAlign = "left";
        label(l.label, bbox.left + 6 * r, y - 6 * r, colour);
        taken.push(y);
      }
    }
    const a = chart.ahead;
    if (a) {
      const x0 = u.valToPos(a.from, "x", true), y0 = u.valToPos(a.value, "y", true);
      ctx.strokeStyle = ink.ink;
      ctx.setLineDash([3 * r, 4 * r]);
      ctx.beginPath();
      ctx.moveTo(x0, y0);
      ctx.lineTo(u.valToPos(a.to, "x", true), u.valToPos(a.end, "y", true));
      ctx.stroke();
      ctx.strokeStyle = ink.line;
      ctx.setLineDash([]);
      ctx.beginPath();
      ctx.moveTo(x0, bbox.top);
      ctx.lineTo(x0, bottom);
      ctx.stroke();
      ctx.textAlign = "left";
      label("now", x0 + 4 * r, bottom - 6 * r, ink.muted);
    }
    for (const d of data.deploys) {
      const x = Math.round(u.valToPos(d.at, "x", true)) + 0.5;
      if (x < bbox.left || x > right) continue;
      ctx.strokeStyle = ctx.fillStyle = ink.muted;
      ctx.setLineDash([]);
      ctx.beginPath();
      ctx.moveTo(x, bbox.top);
      ctx.lineTo(x, bottom);
      ctx.stroke();
      ctx.beginPath();
      ctx.moveTo(x, bbox.top + 4 * r);
      ctx.lineTo(x + 8 * r, bbox.top + 8 * r);
      ctx.lineTo(x, bbox.top + 12 * r);
      ctx.fill();
      const over = x + 60 * r > right;
      ctx.textAlign = over ? "right" : "left";
      label(d.version.slice(0, 24), over ? x - 4 * r : x + 11 * r, bbox.top + 13 * r, ink.muted);
    }
    ctx.restore();
  };

  // The legend has the values under the crosshair, or the last ones.
  const legend = (chart, u) => {
    const box = document.getElementById(`legend-${chart.id}`);
    if (!box) return;
    if (box.childElementCount !== chart.lines.length + 1) {
      box.replaceChildren(...chart.lines.map((l) => {
        const item = document.createElement("span"), mark = document.createElement("i"), value = document.createElement("b");
        mark.style.opacity = l.weight;
        item.append(mark, `${l.label} `, value);
        return item;
      }), document.createElement("span"));
    }
    let at = u?.cursor.idx;
    const pointed = at != null;
    chart.lines.forEach((l, i) => {
      let idx = at;
      if (!pointed) {
        idx = l.points.length - 1;
        while (idx > 0 && l.points[idx] == null) idx--;
      }
      const v = l.points[idx];
      box.children[i].lastChild.textContent = v == null ? "–" : write[chart.unit](v);
    });
    box.lastChild.textContent = pointed ? `at ${moment(chart.from + at * chart.step)}` : (chart.ahead?.words ?? "");
  };

  const draw = (chart) => {
    const place = document.getElementById(`plot-${chart.id}`);
    if (!place) return;
    plots.get(chart.id)?.plot?.destroy();
    plots.delete(chart.id);
    const known = chart.lines.some((l) => l.points.some((v) => v != null));
    if (chart.fault || !known) {
      const p = document.createElement("p");
      p.textContent = chart.fault || "No data in this time.";
      place.replaceChildren(p);
      document.getElementById(`legend-${chart.id}`)?.replaceChildren();
      return;
    }
    place.replaceChildren();
    const xs = chart.lines[0].points.map((_, i) => chart.from + i * chart.step);
    const options = {
      width: place.clientWidth, height: place.clientHeight, legend: { show: false },
      cursor: { sync: { key: "flow", scales: ["x", null] }, drag: { x: false, y: false }, y: false, points: { size: 6 } },
      scales: { x: { time: true, range: () => [chart.to > chart.from + chart.step * (xs.length - 1) ? chart.from : data.from, chart.to] }, y: scaleOf(chart) },
      series: [{}, ...chart.lines.map((l) => ({
        label: l.label, stroke: ink.ink, alpha: l.weight, width: l.weight === 1 ? 1.6 : 1.1, spanGaps: false, points: { show: lone(l.points) },
      }))],
      axes: [
        { stroke: ink.muted, font: "12px system-ui, sans-serif", grid: { show: false }, ticks: { stroke: ink.line, size: 4 }, size: axisHeight, values: times },
        {
          stroke: ink.muted, font: "12px system-ui, sans-serif", grid: { stroke: ink.line, width: 1 }, ticks: { show: false }, size: 58,
          values: (u, splits) => splits.map((v) => v == null ? "" : tick[chart.unit](v)), space: 34,
          ...(chart.unit === "burn" && { splits: (u) => burnTicks.filter((t) => t <= u.scales.y.max), filter: (u, splits) => splits }),
        },
      ],
      hooks: { drawClear: [behind], draw: [before(chart)], setCursor: [(u) => legend(chart, u)] },
    };
    const plot = new uPlot(options, [xs, ...chart.lines.map((l) => l.points)], place);
    plot.root.setAttribute("aria-hidden", "true"); // the legend says it in words
    plots.set(chart.id, { plot, chart });
    legend(chart, plot);
  };

  // A line of lone points would not be seen.
  const lone = (points) => points.filter((v) => v != null).length < 3;

  const drawAll = () => {
    if (!data) return;
    ink = colours();
    hatch = undefined;
    for (const chart of data.charts) draw(chart);
  };

  const say = (text) => {
    const box = document.getElementById("charts-state");
    if (box && box.textContent !== text) box.textContent = text;
  };

  const load = async () => {
    const grid = document.getElementById("grid");
    if (!grid || document.hidden) return;
    const moved = address !== grid.dataset.from;
    if (!moved && (pending || Date.now() - asked < every - 500)) return;
    pending?.abort();
    const mine = pending = new AbortController();
    address = grid.dataset.from;
    asked = Date.now();
    if (moved) say("loading…");
    try {
      const answer = await fetch(address, { signal: mine.signal });
      if (!answer.ok) throw new Error(`slowburn answered ${answer.status}`);
      data = await answer.json();
      drawAll();
      say("");
    } catch (err) {
      if (err.name !== "AbortError") say(data ? "The charts could not be read again; they are from before." : "The charts could not be read.");
    } finally {
      if (pending === mine) pending = undefined;
    }
  };

  // Arrow keys move the crosshair of all charts.
  addEventListener("keydown", (event) => {
    const grid = document.getElementById("grid");
    const first = plots.values().next().value;
    if (document.activeElement !== grid || !first || !["ArrowLeft", "ArrowRight", "Escape"].includes(event.key)) return;
    event.preventDefault();
    const u = first.plot, last = u.data[0].length - 1;
    if (event.key === "Escape") {
      u.setCursor({ left: -10, top: -10 }, true, true);
      return;
    }
    const idx = Math.min(last, Math.max(0, (u.cursor.idx ?? last + 1) + (event.key === "ArrowLeft" ? -1 : 1)));
    u.setCursor({ left: u.valToPos(u.data[0][idx], "x"), top: 10 }, true, true); // the others follow
  });

  let resizing;
  new ResizeObserver(() => {
    clearTimeout(resizing);
    resizing = setTimeout(() => {
      for (const { plot } of plots.values()) {
        const place = plot.root.parentElement;
        if (place && plot.width !== place.clientWidth) plot.setSize({ width: place.clientWidth, height: place.clientHeight });
      }
    }, 100);
  }).observe(document.documentElement);
  matchMedia("(prefers-color-scheme: dark)").addEventListener("change", drawAll);
  addEventListener("htmx:after:swap", load);
  document.addEventListener("visibilitychange", load);
  setInterval(load, every);
  load();
})();
