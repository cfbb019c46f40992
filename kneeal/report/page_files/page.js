"use strict";
(() => {
  const data = JSON.parse(document.getElementById("data").textContent);
  const $ = (id) => document.getElementById(id);
  const NS = "http://www.w3.org/2000/svg";
  const GRADES = data.grades.colors;
  const shown = new Set(data.first);
  let metric = data.metric;
  let cursor = null;

  const svg = (name, attributes, ...children) => {
    const element = document.createElementNS(NS, name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const html = (name, attributes = {}, ...children) => {
    const element = document.createElement(name);
    for (const [key, value] of Object.entries(attributes)) element.setAttribute(key, value);
    element.append(...children);
    return element;
  };
  const meta = () => data.metrics[metric];
  const fixed = (value, digits) => (+value.toFixed(digits) + 0 || 0).toFixed(digits); // never -0.0
  const number = (value) => fixed(meta().factor * value, meta().digits);
  const knees = (n) => `${n} ${n === 1 ? "knee" : "knees"}`;
  const cell = (point) => {
    if (!point) return "–";
    const error = point.error === null ? "" : ` ± ${number(point.error)}`;
    const seeds = point.n < data.seeds.length ? ` (${point.n}/${data.seeds.length})` : "";
    return number(point.mean) + error + seeds;
  };
  const points = (k) => data.settings[k].values[metric];
  const at = (k, n) => points(k).find((point) => point.labels === n);

  // -- learning curves --------------------------------------------------------------------------------------------
  const L = 62, R = 14, T = 14, B = 48;
  let W = 860, H = 470;
  const ticks = (low, high, n) => {
    const rough = (high - low) / n || 1, power = 10 ** Math.floor(Math.log10(rough));
    const step = [1, 2, 5, 10].map((m) => m * power).find((s) => s >= rough);
    const found = [];
    for (let v = Math.ceil(low / step - 1e-9) * step; v <= high + step * 1e-9; v += step) found.push(v);
    return found;
  };
  let scale = null;

  function drawCurves() {
    // As many units as pixels, so that text has its size on a phone too.
    W = Math.max(300, Math.min(860, $("chart").clientWidth || 860));
    H = W < 600 ? 330 : 470;
    const curves = data.settings.map((_, k) => k).filter((k) => shown.has(k));
    const every = data.settings.flatMap((_, k) => points(k));
    const visible = curves.flatMap((k) => points(k));
    const pool = visible.length ? visible : every;
    const lows = pool.map((p) => p.mean - (p.error || 0)), highs = pool.map((p) => p.mean + (p.error || 0));
    const { factor, chance } = meta();
    let low = Math.min(...lows, chance ?? Infinity) * factor, high = Math.max(...highs) * factor;
    // A difference of a point must not look like the whole range.
    const least = factor === 100 ? 20 : Math.max(Math.abs(low), Math.abs(high)) * 0.2 || 1;
    high = Math.max(high, low + least);
    const margin = (high - low) * 0.06;
    low -= margin; high += margin;
    const xs = data.counts, x0 = Math.min(...xs), x1 = Math.max(...xs);
    const x = (n) => L + ((n - x0) / (x1 - x0 || 1)) * (W - L - R);
    const y = (v) => H - B - ((v * meta().factor - low) / (high - low)) * (H - T - B);
    scale = { x, y, x0, x1 };

    const title = svg("title", {}, `${meta().name} by number of labels`);
    const desc = svg("desc", {}, `${curves.length} curves; the table below has their numbers.`);
    const root = svg("svg", { viewBox: `0 0 ${W} ${H}`, class: "curves", role: "img", tabindex: "0", id: "curves" }, title, desc);
    for (const v of ticks(low, high, 6)) {
      const py = y(v / meta().factor);
      root.append(svg("line", { class: "grid", x1: L, x2: W - R, y1: py, y2: py }));
      root.append(svg("text", { x: L - 8, y: py + 4, "text-anchor": "end" }, String(+v.toFixed(4))));
    }
    for (const n of ticks(x0, x1, W < 600 ? 4 : 8)) root.append(svg("text", { x: x(n), y: H - B + 20, "text-anchor": "middle" }, String(n)));
    root.append(svg("text", { class: "axis-title", x: (L + W - R) / 2, y: H - 8, "text-anchor": "middle" }, "labeled knees"));
    root.append(svg("text", { class: "axis-title", transform: `translate(15 ${(T + H - B) / 2}) rotate(-90)`, "text-anchor": "middle" }, meta().name));

    if (chance !== null) {
      const py = y(chance);
      root.append(svg("line", { class: "chance", x1: L, x2: W - R, y1: py, y2: py }));
      root.append(svg("text", { x: W - R, y: py - 5, "text-anchor": "end" }, "chance"));
    }
    for (const k of curves) {
      const setting = data.settings[k], found = points(k);
      const group = svg("g", { class: "curve", "data-setting": setting.label });
      if (setting.baseline) {
        if (found.length) {
          const py = y(found[0].mean);
          group.append(svg("line", { x1: L, x2: W - R, y1: py, y2: py, stroke: setting.color, "stroke-width": 1.6, "stroke-dasharray": "7 5" }));
        }
      } else if (found.length) {
        if ($("bands").checked) {
          const up = found.map((p) => `${x(p.labels)},${y(p.mean + (p.error || 0))}`);
          const down = found.map((p) => `${x(p.labels)},${y(p.mean - (p.error || 0))}`).reverse();
          group.append(svg("polygon", { points: [...up, ...down].join(" "), fill: setting.color, opacity: 0.13, class: "band" }));
        }
        const dash = setting.consistency ? {} : { "stroke-dasharray": "5 3" };
        group.append(svg("polyline", { points: found.map((p) => `${x(p.labels)},${y(p.mean)}`).join(" "), fill: "none", stroke: setting.color, "stroke-width": 2.2, ...dash }));
        for (const p of found) group.append(svg("circle", { cx: x(p.labels), cy: y(p.mean), r: 3, fill: setting.color }));
      }
      root.append(group);
    }
    const line = svg("line", { class: "cursor", y1: T, y2: H - B, visibility: "hidden" });
    root.append(line);
    root.addEventListener("pointermove", (event) => point(event, root));
    root.addEventListener("pointerleave", hideTip);
    root.addEventListener("keydown", (event) => {
      const move = { ArrowRight: 1, ArrowLeft: -1 }[event.key];
      if (event.key === "Escape") hideTip();
      if (!move) return;
      event.preventDefault();
      const place = cursor === null ? (move > 0 ? -1 : data.counts.length) : data.counts.indexOf(cursor);
      showTip(data.counts[Math.max(0, Math.min(data.counts.length - 1, place + move))], null, root);
    });
    const old = $("curves"), focused = old && document.activeElement === old;
    if (old) old.remove();
    $("chart").prepend(root);
    if (focused) root.focus();
    hideTip();
  }

  function point(event, root) {
    const box = root.getBoundingClientRect();
    const px = ((event.clientX - box.left) / box.width) * W, py = ((event.clientY - box.top) / box.height) * H;
    const n = data.counts.reduce((best, c) => (Math.abs(scale.x(c) - px) < Math.abs(scale.x(best) - px) ? c : best));
    let near = null, distance = Infinity;
    for (const k of shown) {
      const p = data.settings[k].baseline ? points(k)[0] : at(k, n);
      if (p && Math.abs(scale.y(p.mean) - py) < distance) { distance = Math.abs(scale.y(p.mean) - py); near = k; }
    }
    showTip(n, near, root);
  }

  function showTip(n, near, root) {
    cursor = n;
    const line = root.querySelector(".cursor");
    for (const a of ["x1", "x2"]) line.setAttribute(a, scale.x(n));
    line.setAttribute("visibility", "visible");
    const rows = [...shown].map((k) => [k, data.settings[k].baseline ? points(k)[0] : at(k, n)]).filter(([, p]) => p);
    rows.sort((a, b) => (b[1].mean - a[1].mean) * (meta().lower ? -1 : 1));
    const tip = $("tip"), table = html("table");
    for (const [k, p] of rows) {
      const row = html("tr", k === near ? { class: "near" } : {});
      const name = html("td", {}, data.settings[k].label);
      name.style.borderLeft = `4px solid ${data.settings[k].color}`;
      name.style.paddingLeft = "6px";
      row.append(name, html("td", {}, cell(p)));
      table.append(row);
    }
    tip.replaceChildren(html("strong", {}, `${n} ${n === 1 ? "label" : "labels"}`), table);
    tip.hidden = false;
    const box = root.getBoundingClientRect(), left = (scale.x(n) / W) * box.width;
    tip.style.top = "14px";
    tip.style.left = left < box.width / 2 ? `${left + 14}px` : `${Math.max(0, left - tip.offsetWidth - 14)}px`;
    for (const group of root.querySelectorAll(".curve"))
      group.style.opacity = near === null || group.dataset.setting === data.settings[near].label ? 1 : 0.3;
    if (near === null) $("spoken").textContent = `${n} labels: ` + rows.map(([k, p]) => `${data.settings[k].label} ${cell(p)}`).join(", ");
  }

  function hideTip() {
    cursor = null;
    $("tip").hidden = true;
    const root = $("curves");
    if (!root) return;
    root.querySelector(".cursor").setAttribute("visibility", "hidden");
    for (const group of root.querySelectorAll(".curve")) group.style.opacity = 1;
  }

  function drawLegend() {
    $("legend").replaceChildren(...data.settings.map((setting, k) => {
      const dash = setting.baseline ? "7 5" : setting.consistency ? "" : "5 3";
      const line = svg("svg", { width: 30, height: 12, "aria-hidden": "true" },
        svg("line", { x1: 1, x2: 29, y1: 6, y2: 6, stroke: setting.color, "stroke-width": 2.6, "stroke-dasharray": dash }));
      const button = html("button", { type: "button", "aria-pressed": String(shown.has(k)), "data-setting": setting.label }, line, setting.label);
      button.addEventListener("click", () => {
        shown.has(k) ? shown.delete(k) : shown.add(k);
        button.setAttribute("aria-pressed", String(shown.has(k)));
        drawCurves();
        drawTable();
      });
      return button;
    }));
  }

  // -- table ------------------------------------------------------------------------------------------------------
  function drawTable() {
    const counts = data.tableCounts, baseline = data.settings.some((s) => s.baseline);
    const validation = data.settings.some((s) => s.validation);
    const names = ["setting", ...(validation ? ["validation grades"] : []), ...counts.map((n) => `${n} ${n === 1 ? "label" : "labels"}`), ...(baseline ? ["all labels"] : [])];
    const head = html("tr", {}, ...names.map((t) => html("th", { scope: "col" }, t)));
    const best = counts.map((n) => {
      const means = data.settings.map((s, k) => (s.baseline || !shown.has(k) ? null : at(k, n))).filter(Boolean).map((p) => p.mean);
      return means.length ? (meta().lower ? Math.min(...means) : Math.max(...means)) : null;
    });
    const rows = data.settings.map((setting, k) => {
      const row = html("tr", shown.has(k) ? {} : { class: "hidden-setting" }, html("th", { scope: "row" }, setting.label));
      if (validation) row.append(html("td", {}, setting.validation ? `+ ${setting.validation}` : "–"));
      counts.forEach((n, column) => {
        const p = setting.baseline ? null : at(k, n);
        const bold = p && shown.has(k) && p.mean === best[column];
        row.append(html("td", bold ? { class: "best" } : {}, setting.baseline ? "" : cell(p)));
      });
      if (baseline) row.append(html("td", {}, setting.baseline ? cell(points(k)[0]) : ""));
      return row;
    });
    $("table").replaceChildren(html("caption", { class: "visually-hidden" }, meta().name), html("thead", {}, head), html("tbody", {}, ...rows));
  }

  // -- queries ----------------------------------------------------------------------------------------------------
  const querying = data.settings.map((s, k) => [s, k]).filter(([s]) => !s.baseline && Object.keys(s.queries).length);

  function fillSeeds() {
    const kept = $("q-seed").value, setting = data.settings[+$("q-setting").value];
    const seeds = Object.keys(setting.queries);
    $("q-seed").replaceChildren(...seeds.map((seed) => html("option", { value: seed }, seed)));
    if (seeds.includes(kept)) $("q-seed").value = kept;
  }

  const paint = (element, grade) => {
    element.style.background = grade === null ? "#ccc" : GRADES[grade];
    if (data.grades.dark.includes(grade)) element.style.color = "#fff";
  };

  function drawSplit(element, shares, name) {
    element.setAttribute("aria-label", shares.map((_, g) => name(g)).join(", "));
    element.replaceChildren(...shares.map((share, grade) => {
      const text = share > 0.16 ? `KL ${grade}: ${fixed(100 * share, 0)} %` : share > 0.04 ? grade : "";
      const part = html("span", { title: name(grade) }, String(text));
      part.style.width = `${100 * share}%`;
      paint(part, grade);
      return part;
    }));
  }

  // -- errors and calibration -------------------------------------------------------------------------------------
  function drawErrors() {
    const setting = data.settings[+$("e-setting").value];
    const head = html("tr", {}, html("th", {}, "true \\ given"), ...GRADES.map((_, g) => html("th", { scope: "col" }, `KL ${g}`)), html("th", { scope: "col" }, "knees"));
    const rows = setting.confusion.map((row, g) => {
      const total = row.reduce((a, b) => a + b, 0);
      const cells = row.map((n) => {
        const share = total ? n / total : 0, cell = html("td", {}, total ? fixed(100 * share, 0) : "–");
        cell.style.background = `color-mix(in srgb, var(--accent) ${Math.round(90 * share)}%, transparent)`;
        if (share > 0.55) cell.style.color = "var(--paper)";
        return cell;
      });
      return html("tr", {}, html("th", { scope: "row" }, `KL ${g}`), ...cells, html("td", { class: "soft" }, String(total)));
    });
    $("confusion").replaceChildren(html("caption", { class: "visually-hidden" }, "confusion"), html("thead", {}, head), html("tbody", {}, ...rows));
    const at = (v) => 36 + 210 * v, up = (v) => 224 - 210 * v;
    const points = setting.calibration.filter(([, , n]) => n >= 10);
    const marks = [0, 0.5, 1].flatMap((v) => [
      svg("text", { x: at(v), y: 240, "text-anchor": "middle" }, String(v)),
      svg("text", { x: 30, y: up(v) + 4, "text-anchor": "end" }, String(v)),
    ]);
    $("calibration").replaceChildren(
      svg("title", {}, `calibration of ${setting.label}: expected calibration error ${setting.ece}`),
      svg("rect", { x: at(0), y: up(1), width: 210, height: 210, class: "frame" }),
      svg("line", { x1: at(0), y1: up(0), x2: at(1), y2: up(1), class: "chance" }), ...marks,
      svg("text", { x: at(0.5), y: 256, "text-anchor": "middle", class: "axis-title" }, "confidence"),
      svg("text", { transform: `translate(9 ${up(0.5)}) rotate(-90)`, "text-anchor": "middle", class: "axis-title" }, "accuracy"),
      svg("polyline", { points: points.map(([c, a]) => `${at(c)},${up(a)}`).join(" "), fill: "none", stroke: setting.color, "stroke-width": 2 }),
      ...points.map(([c, a, n]) => svg("circle", { cx: at(c), cy: up(a), r: 3.5, fill: setting.color }, svg("title", {}, `${knees(n)}: confidence ${c}, accuracy ${a}`))),
      svg("text", { x: at(0) + 8, y: up(1) + 18 }, `ECE ${fixed(setting.ece, 3)}`));
  }

  function drawKnees() {
    const queries = data.settings[+$("q-setting").value].queries[$("q-seed").value];
    const slider = $("q-round");
    slider.max = queries.length - 1;
    const place = Math.min(+slider.value, queries.length - 1), query = queries[place];
    $("q-back").disabled = place === 0;
    $("q-next").disabled = place === queries.length - 1;
    const grades = query.knees.map((knee) => data.knees.grades[knee]);
    $("q-title").textContent = `${query.round < 0 ? "first query" : `query of round ${query.round + 1}`}: ${knees(grades.length)}`;
    const known = grades.filter((grade) => grade !== null).length || 1;
    const counts = GRADES.map((_, g) => grades.filter((grade) => grade === g).length);
    drawSplit($("q-split"), counts.map((c) => c / known), (g) => `KL ${g}: ${knees(counts[g])}`);
    $("knees").className = Object.keys(data.pictures).length ? "knees" : "knees bare";
    $("knees").replaceChildren(...query.knees.map((knee, k) => {
      const id = data.knees.ids[knee], grade = data.knees.grades[knee], score = query.scores[k];
      const source = data.pictures[knee];
      const picture = source ? [html("img", { class: "picture", src: source, alt: `knee ${id}` })] : [];
      const badge = html("span", { class: "grade" }, grade === null ? "KL ?" : `KL ${grade}`);
      paint(badge, grade);
      const caption = html("figcaption", {}, html("span", { title: score === null ? "" : `score ${score}` }, id), badge);
      return html("figure", { class: "knee", title: score === null ? id : `${id}, score ${score}` }, ...picture, caption);
    }));
  }

  // -- start ------------------------------------------------------------------------------------------------------
  $("metric").replaceChildren(...Object.entries(data.metrics).map(([key, m]) => html("option", { value: key }, m.name)));
  $("metric").value = metric;
  $("metric").addEventListener("change", () => { metric = $("metric").value; drawCurves(); drawTable(); });
  window.addEventListener("resize", drawCurves);
  $("bands").addEventListener("change", drawCurves);
  for (const [id, some] of [["all", true], ["none", false]])
    $(id).addEventListener("click", () => {
      data.settings.forEach((_, k) => (some ? shown.add(k) : shown.delete(k)));
      drawLegend(); drawCurves(); drawTable();
    });
  drawLegend();
  drawCurves();
  drawTable();
  if (querying.length) {
    $("q-setting").replaceChildren(...querying.map(([s, k]) => html("option", { value: k }, s.label)));
    const step = (by) => { $("q-round").value = +$("q-round").value + by; drawKnees(); };
    $("q-setting").addEventListener("change", () => { fillSeeds(); drawKnees(); });
    $("q-seed").addEventListener("change", drawKnees);
    $("q-round").addEventListener("input", drawKnees);
    $("q-back").addEventListener("click", () => step(-1));
    $("q-next").addEventListener("click", () => step(1));
    fillSeeds();
    drawKnees();
    for (const id of ["q-pool", "q-pool-name"]) $(id).hidden = !data.grades.pool;
    if (data.grades.pool) drawSplit($("q-pool"), data.grades.pool, (g) => `KL ${g}: ${fixed(100 * data.grades.pool[g], 1)} %`);
  }
  $("e-setting").replaceChildren(...data.settings.map((s, k) => html("option", { value: k }, s.label)));
  $("e-setting").value = String(data.first[0] ?? 0);
  $("e-setting").addEventListener("change", drawErrors);
  drawErrors();
})();
