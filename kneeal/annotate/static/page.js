"use strict";
// One page: sign in, read, wait for the next knees, look at the agreement.
const by = (id) => document.getElementById(id);
const state = {csrf: "", task: null, last: null, busy: false, both: false, findings: new Set(), seconds: 0, since: null};
const viewer = new Viewer(by("picture"), () => showView());
// Counts what the page was asked to show. Whatever arrives for an earlier turn is dropped: a late picture never wins.
let turn = 0;
let loading = new AbortController();  // ends the pictures of an earlier turn, which would hold up those of this one

// -- requests ------------------------------------------------------------------------------------------------------

async function request(path, body, signal) {
  const options = {headers: {"x-kneeal-csrf": state.csrf}, credentials: "same-origin", signal};
  if (body !== undefined) {
    options.method = "POST";
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options);
  if (response.status === 401) {
    const said = await response.json().catch(() => ({}));
    view("enter");
    by("enter-text").textContent = said.error && said.error !== "nobody is signed in" ? `${capital(said.error)}.` : "";
    throw new Error("signed out");
  }
  return response;
}

// A change that the server may not have heard of is sent again, with its nonce, until it answers: nothing is sent twice.
async function change(path, body) {
  for (let tries = 0; ; tries++) {
    let response = null;
    try {
      response = await request(path, body);
    } catch (error) {
      if (error.message === "signed out") throw error;
    }
    if (response && response.status < 500) {
      notice("");
      return {ok: response.ok, data: await response.json()};
    }
    const said = response ? await response.json().catch(() => ({})) : {};
    notice(`${body === undefined ? "Not loaded" : "Not saved"} yet: ${said.error || "the server does not answer"}. Trying again; please keep this page open.`);
    await pause(Math.min(5000, 500 * (tries + 1)));
  }
}

const next = async () => (await change("api/next")).data;
const pause = (milliseconds) => new Promise((resolve) => setTimeout(resolve, milliseconds));
const capital = (text) => text.charAt(0).toUpperCase() + text.slice(1);

function nonce() {
  return Array.from(crypto.getRandomValues(new Uint8Array(16)), (byte) => byte.toString(16).padStart(2, "0")).join("");
}

// -- views ---------------------------------------------------------------------------------------------------------

function view(name) {
  document.body.dataset.view = name;
  for (const section of document.querySelectorAll("main > section")) section.hidden = section.id !== `view-${name}`;
  if (name !== "read") document.body.dataset.ready = "";
}

function notice(text) {
  by("notice").hidden = !text;
  by("notice").textContent = text;
}

function announce(text) {
  by("announce").textContent = text;
}

function showView() {
  const name = viewer.measuring ? viewer.measuring.name || "length" : null;
  const on = {invert: viewer.look.inverted, contrast: viewer.look.contrast, magnify: viewer.magnifying, boxes: viewer.showBoxes,
    other: state.both, measure: name === "length", medial: name === "medial", lateral: name === "lateral"};
  for (const [tool, pressed] of Object.entries(on)) {
    document.querySelector(`[data-tool="${tool}"]`).setAttribute("aria-pressed", String(Boolean(pressed)));
  }
  by("preset").textContent = PRESETS[viewer.look.preset][0];
  by("measured").textContent = viewer.measurements.length
    ? "Measured: " + viewer.measurements.map(Viewer.describe).join(", ") : "";
}

function showProgress({done, left, pace}) {
  const minutes = pace === null ? null : left * pace / 60;
  const time = minutes === null || left === 0 ? "" : minutes < 1 ? ", less than a minute at this pace"
    : `, about ${Math.round(minutes)} min at this pace`;
  by("progress").textContent = `${done} read, ${left} left${time}`;
}

// -- reading -------------------------------------------------------------------------------------------------------

async function take(said) {
  const mine = ++turn;
  loading.abort();
  loading = new AbortController();
  showProgress(said);
  viewer.clear();
  by("stage-note").textContent = "";
  document.body.dataset.ready = "";
  state.task = said.task;
  state.findings.clear();
  by("comment").value = "";
  showFindings();
  if (!said.task) return showWait(said.status);
  view("read");
  const {task} = said;
  by("opinion").hidden = !said.predictions;
  by("undo").disabled = by("wait-undo").disabled = said.done === 0 && !state.last;
  by("adjudication").hidden = !task.adjudication;
  by("adjudication").textContent = task.adjudication
    ? "The readings of this knee differ: " + task.grades.map((kl) => kl === null ? "unreadable" : kl).join(", ")
      + ". Your answer decides." : "";
  const layer = await load(`api/task/${task.id}/picture`, mine);
  if (!layer) return;
  viewer.show(layer);
  const {about} = layer, side = about.side === "L" ? "Left" : "Right";
  by("stage-note").textContent = `${side} knee` + (about.full ? "" : ", joint regions only: the radiograph was not found")
    + (about.mm_per_px === null ? ", scale not known" : "");
  by("picture").setAttribute("aria-label", `Radiograph of a ${side.toLowerCase()} knee`
    + (about.full ? "" : ", both joint regions side by side"));
  state.seconds = 0;
  state.since = document.hidden ? null : performance.now();
  document.body.dataset.ready = String(task.id);
  announce(`${side} knee. ${said.left} left.` + (task.adjudication ? " " + by("adjudication").textContent : ""));
  if (state.both) guarded(() => showOther(true));
}

// A picture for a turn; null where the page has moved on. One that cannot be read is said as that, and tried again.
async function load(path, mine, {quiet = false} = {}) {
  for (let tries = 0; mine === turn; tries++) {
    let said = {};
    try {
      const response = await request(path, undefined, loading.signal);
      if (response.ok) {
        const about = JSON.parse(response.headers.get("x-kneeal-picture"));
        const layer = await Layer.decode(await response.blob(), about);
        return mine === turn && about.task === state.task.id ? layer : null;
      }
      said = await response.json().catch(() => ({}));
      if (response.status < 500) {
        if (mine === turn && !quiet) notice(`${capital(said.error || "no picture")}.`);
        return null;
      }
    } catch (error) {
      if (error.message === "signed out") throw error;
    }
    if (mine === turn && !viewer.main) {
      by("stage-note").textContent = `${capital(said.error || "the picture does not arrive")}. Trying again; your answers are saved. `
        + "Press N to put this knee off.";
    }
    await pause(Math.min(10000, 1000 * (tries + 1)));
  }
  return null;
}

function seconds() {
  return state.seconds + (state.since === null ? 0 : (performance.now() - state.since) / 1000);
}

async function answer(kl, reason) {
  const {task} = state, {drawn} = viewer;
  // A key that was meant for the knee before must not grade one that nobody has seen.
  if (!task || state.busy || !drawn || drawn.task !== task.id || document.body.dataset.ready !== String(task.id)
    || seconds() < 0.15) return;
  by("grades").focus({preventScroll: true});  // so that the space bar does not press a grade again, for the next knee
  return working(async () => {
    const {ok, data} = await change("api/answer", {task: task.id, picture: drawn.token, nonce: nonce(), kl, reason,
      seconds: Math.round(seconds() * 1000) / 1000, measurements: viewer.measurements, findings: [...state.findings],
      comment: by("comment").value});
    if (ok) {
      state.last = task.id;
      by("opinion").disabled = false;
      return data;
    }
    const following = await next();
    notice(`${capital(data.error)}. ${data.cure ? capital(data.cure) + "." : ""}`);
    return following;
  });
}

// One change at a time; the next may be made while the picture that comes of one is under way, so that a knee whose
// picture does not arrive can be put off. Whether anything came of it.
async function working(work) {
  if (state.busy) return false;
  state.busy = true;
  let said = null;
  try {
    said = await work();
  } finally {
    state.busy = false;
  }
  if (said) await take(said);
  return Boolean(said);
}

async function undo() {
  const undone = await working(async () => {
    const {ok, data} = await change("api/undo", {nonce: nonce()});
    if (!ok) return notice(`Not undone: ${data.error}.`);
    state.last = null;
    by("opinion").disabled = true;
    return data;
  });
  if (undone) announce("The last answer was undone.");
}

async function later() {
  const {task} = state;
  if (!task) return;
  const put = await working(async () => {
    const {ok, data} = await change(`api/task/${task.id}/later`, {});
    return ok ? data : notice(`${capital(data.error)}.`);
  });
  if (put && state.task && state.task.id === task.id) announce("This is the last knee.");
}

async function toggleOther() {
  state.both = !state.both;
  notice("");
  if (state.both) await showOther(false);
  else if (viewer.companion) viewer.accompany(null);
  showView();
}

async function showOther(quiet) {
  const {task} = state, mine = turn;
  if (!task) return;
  const layer = await load(`api/task/${task.id}/other`, mine, {quiet});
  if (layer && state.both && viewer.main) viewer.accompany(layer);
}

async function showOpinion() {
  if (!state.last || by("opinion").hidden) return;
  const {ok, data} = await change(`api/task/${state.last}/prediction`, {});
  if (!ok) return notice(`Not shown: ${data.error}.`);
  const body = by("prediction").querySelector("tbody");
  body.replaceChildren(...(data.probabilities || []).map((p, grade) => row([String(grade), `${(100 * p).toFixed(0)} %`])));
  body.parentElement.hidden = by("prediction-stands").hidden = !data.probabilities;
  by("prediction-none").hidden = Boolean(data.probabilities);
  by("prediction").showModal();
}

// For the knee that is seen: not while the next one is on its way, which would appear behind the list.
function askReason() {
  if (viewer.drawn && !state.busy) by("reasons").showModal();
}

function showFindings() {
  for (const button of by("findings").children) {
    button.setAttribute("aria-pressed", String(state.findings.has(button.dataset.finding)));
  }
}

function toggleFinding(finding) {
  if (!state.findings.delete(finding)) state.findings.add(finding);
  showFindings();
}

// -- waiting -------------------------------------------------------------------------------------------------------

function showWait(status) {
  view("wait");
  const titles = {reading: "Other readers have not finished", read: "All knees have been read. Thank you.",
    training: "Training on your grades", finished: "All knees have been read. Thank you.", failed: "Training failed"};
  const texts = {
    reading: "You have read all your knees. This page continues by itself.",
    read: status.disagreed ? `Readings of ${status.disagreed} knees differ. An adjudicator decides.`
      : status.auto ? "Training starts shortly." : "Training is started by hand; this page then continues by itself.",
    training: "Every answer is saved. This page continues by itself with the knees that the model would learn most from.",
    finished: "No more knees are needed.",
    failed: `Every answer is saved. ${capital(status.message || "")}. `
      + (status.retry === null ? "" : `The next attempt is in ${duration(status.retry)}.`),
  };
  by("wait-title").textContent = titles[status.phase];
  by("wait-text").textContent = texts[status.phase];
  if (status.problem || state.problem) notice(status.problem ? `The server cannot check the run: ${status.problem.text}. It has tried for `
    + `${duration(status.problem.age)} and keeps trying. Your answers are saved.` : "");
  state.problem = status.problem;
  const {progress} = status;
  by("wait-bar").hidden = status.phase !== "training";
  if (progress && progress.of) by("wait-bar").value = progress.done / progress.of;
  else by("wait-bar").removeAttribute("value");
  const steps = {training: "Training", testing: "Testing", choosing: "Choosing the next knees"};
  by("wait-progress").textContent = progress
    ? `${steps[progress.what]}: ${progress.done} of ${progress.of} ${progress.what === "training" ? "epochs" : "knees"}` : "";
  by("again").hidden = status.phase !== "failed";
  by("wait-undo").hidden = status.phase === "training" || status.phase === "finished";
  by("accuracy").hidden = !status.accuracy.length;
  by("accuracy").querySelector("tbody").replaceChildren(
    ...status.accuracy.map(([labels, accuracy]) => row([String(labels), `${(100 * accuracy).toFixed(1)} %`])));
}

const duration = (s) => s < 90 ? `${s} s` : `${Math.round(s / 60)} min`;

setInterval(async () => {
  if (document.body.dataset.view !== "wait" || state.busy) return;
  try {
    const mine = turn, response = await request("api/next"), said = await response.json();
    if (response.ok && document.body.dataset.view === "wait" && !state.busy && mine === turn) await take(said);
  } catch {
    // The server is away for a moment; the next look may find it.
  }
}, 1000);

// -- agreement -----------------------------------------------------------------------------------------------------

function row(cells, kind = "td") {
  const tr = document.createElement("tr");
  tr.append(...cells.map((text) => Object.assign(document.createElement(kind), {textContent: text})));
  if (kind === "th") for (const cell of tr.children) cell.scope = "col";
  return tr;
}

function table(caption, header, rows) {
  const element = document.createElement("table");
  element.append(Object.assign(document.createElement("caption"), {textContent: caption}));
  element.createTHead().append(row(header, "th"));
  element.createTBody().append(...(rows.length ? rows : [["none yet"]]).map((cells) => row(cells)));
  return element;
}

async function showAgreement() {
  const response = await request("api/agreement");
  const data = await response.json();
  if (!response.ok) return notice(`Not shown: ${data.error}.`);
  const number = (value, digits = 2) => value === null ? "not defined" : value.toFixed(digits);
  const cells = (a) => [a.first, a.second, String(a.n), a.exact === null ? "" : `${(100 * a.exact).toFixed(0)} %`,
    number(a.quadratic) + (a.interval ? ` (${a.interval.map((x) => x.toFixed(2)).join(" to ")})` : ""), number(a.linear),
    String(a.unreadable)];
  const header = ["reading", "other reading", "knees", "same grade", "kappa, quadratic (95 %)", "kappa, linear", "unreadable"];
  by("rule").textContent = data.rule;
  by("tables").replaceChildren(
    table("Within readers: knees that were read twice", header, data.within.map(cells)),
    table("Between readers", header, data.between.map(cells)),
    table("Time per knee", ["reader", "knees", "unreadable", "undone", "median", "quartiles"], data.paces.map((p) => [
      p.reader, String(p.n), String(p.unreadable), String(p.undone), p.median === null ? "" : `${p.median.toFixed(1)} s`,
      p.quartiles ? p.quartiles.map((x) => `${x.toFixed(1)} s`).join(" to ") : ""])));
  view("agreement");
}

// -- keys and buttons ----------------------------------------------------------------------------------------------

function measure(name) {
  if (viewer.measuring && viewer.measuring.name === name) viewer.stopMeasuring();
  else viewer.startMeasuring(name);
  showView();
}

const tools = {
  preset: () => viewer.nextPreset(),
  contrast: () => viewer.change({contrast: !viewer.look.contrast}),
  invert: () => viewer.change({inverted: !viewer.look.inverted}),
  "zoom-in": () => viewer.zoomBy(1.25),
  "zoom-out": () => viewer.zoomBy(0.8),
  magnify: () => { viewer.magnifying = !viewer.magnifying; viewer.draw(); showView(); },
  measure: () => measure(null),
  medial: () => measure("medial"),
  lateral: () => measure("lateral"),
  boxes: () => { viewer.showBoxes = !viewer.showBoxes; viewer.draw(); showView(); },
  other: () => guarded(toggleOther),
  reset: () => viewer.reset(),
};
const keys = {w: tools.preset, c: tools.contrast, i: tools.invert, "+": tools["zoom-in"], "=": tools["zoom-in"],
  "-": tools["zoom-out"], x: tools.magnify, m: tools.measure, j: tools.medial, l: tools.lateral, b: tools.boxes, o: tools.other,
  r: tools.reset, z: () => guarded(undo), n: () => guarded(later), p: () => guarded(showOpinion),
  s: () => { const [button] = by("findings").children; if (button) toggleFinding(button.dataset.finding); },
  t: () => by("comment").focus(), u: askReason, g: () => { by("atlas").open = !by("atlas").open; },
  "?": () => by("help").showModal()};
const arrows = {ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0]};

function guarded(work) {
  return work().catch((error) => {
    if (error.message !== "signed out") notice("The server does not answer. Nothing that was saved is lost; reload the page.");
  });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const key = keyOf(event);
  if (event.target === by("comment")) {
    if (key !== "Escape") return;
    by("grades").focus({preventScroll: true});
    event.preventDefault();
    return;
  }
  if (by("reasons").open && /^[1-9]$/.test(key)) {
    const button = by("reason-list").children[Number(key) - 1];
    if (button && !event.repeat) button.click();
    event.preventDefault();
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  if (document.body.dataset.view === "wait" && key === "z" && !by("wait-undo").hidden) guarded(undo);
  if (document.body.dataset.view !== "read") return;
  if (/^[0-4]$/.test(key)) {
    if (!event.repeat) guarded(() => answer(Number(key), null));
  } else if (arrows[key]) {
    const [x, y] = arrows[key], step = event.shiftKey ? 10 : 1;
    if (viewer.measuring && viewer.mark) viewer.moveMark(x * step, y * step);
    else if (event.shiftKey) viewer.panBy(-40 * x, -40 * y);
    else viewer.windowBy(0.02 * y, 0.05 * x);
  } else if (viewer.measuring && viewer.mark && key === "Enter" && event.target.tagName !== "BUTTON") {
    viewer.setMark();
  } else if (viewer.measuring && key === "Escape") {
    measure(viewer.measuring.name);
  } else if (viewer.measuring && (key === "Delete" || key === "Backspace")) {
    viewer.forgetMeasurement();
  } else if (keys[key] && !event.repeat) {
    keys[key]();
  } else {
    return;
  }
  event.preventDefault();
});

for (const button of document.querySelectorAll("[data-tool]")) button.addEventListener("click", () => {
  tools[button.dataset.tool]();
  by("picture").focus({preventScroll: true});
});
for (const button of document.querySelectorAll("[data-grade]")) {
  // The mouse does not leave the focus on a grade, where the space bar would press it; a double click is one answer.
  button.addEventListener("mousedown", (event) => event.preventDefault());
  button.addEventListener("click", (event) => {
    if (event.detail < 2) guarded(() => answer(Number(button.dataset.grade), null));
  });
}
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
// A comment begun while an answer is on its way would be cut in two by the next knee: none is taken until it is begun again.
by("comment").addEventListener("focus", () => { by("comment").readOnly = state.busy; });
by("unreadable").addEventListener("click", askReason);
by("later").addEventListener("click", () => guarded(later));
for (const id of ["undo", "wait-undo"]) by(id).addEventListener("click", () => guarded(undo));
by("opinion").addEventListener("click", () => guarded(showOpinion));
by("show-help").addEventListener("click", () => by("help").showModal());
by("show-agreement").addEventListener("click", () => guarded(showAgreement));
by("back").addEventListener("click", () => guarded(start));
by("again").addEventListener("click", () => guarded(() => change("api/again", {})));
by("leave").addEventListener("click", () => guarded(async () => {
  await change("api/sign-out", {});
  location.reload();
}));
// While an answer is not saved, the browser asks before it closes or reloads the page.
addEventListener("beforeunload", (event) => {
  if (state.busy) event.preventDefault();
});
document.addEventListener("visibilitychange", () => {
  if (document.hidden && state.since !== null) {
    state.seconds += (performance.now() - state.since) / 1000;
    state.since = null;
  } else if (!document.hidden && state.since === null) {
    state.since = performance.now();
  }
});

// -- begin ---------------------------------------------------------------------------------------------------------

function button(text, key, pressed) {
  const element = Object.assign(document.createElement("button"), {type: "button"});
  element.append(...(key ? [Object.assign(document.createElement("kbd"), {textContent: key}), ` ${text}`] : [text]));
  element.addEventListener("click", pressed);
  return element;
}

async function start() {
  const me = await (await request("api/me")).json();
  state.csrf = me.csrf;
  by("reader").textContent = me.name;
  by("leave").hidden = false;
  by("show-agreement").hidden = !me.adjudicates;
  by("reason-list").replaceChildren(...me.reasons.map((reason, k) => button(reason, String(k + 1), () => {
    by("reasons").close();
    guarded(() => answer(null, reason));
  })));
  by("findings").replaceChildren(...me.findings.map((finding, k) => {
    const element = button(capital(finding), k ? "" : "S", () => toggleFinding(finding));
    element.dataset.finding = finding;
    return element;
  }));
  for (const figure of document.querySelectorAll("#atlas figure")) figure.remove();
  for (const [name, grade, caption] of me.atlas) {
    const figure = document.createElement("figure"), image = document.createElement("img");
    image.src = `api/atlas/${name}`;
    image.loading = "lazy";
    image.alt = `Example of grade ${grade}${caption ? ": " + caption : ""}`;
    figure.append(image, Object.assign(document.createElement("figcaption"), {textContent: caption}));
    document.querySelector(`#atlas dd[data-of="${grade}"]`).append(figure);
  }
  await take(await next());
}

guarded(async () => {
  const secret = location.hash.slice(1);
  if (secret) {
    // The secret is behind the #, which browsers send to no server, and goes from the address and the history.
    history.replaceState(null, "", location.pathname);
    const response = await request("api/sign-in", {secret});
    if (!response.ok) {
      const said = await response.json();
      view("enter");
      notice(`This link cannot be used: ${said.expected}.`);
      // Whoever is signed in may be somebody else than whom the link is for: nobody reads under another's name unawares.
      const me = await (await request("api/me")).json();
      by("view-enter").append(button(`Continue as ${me.name}`, "", () => {
        notice("");
        guarded(start);
      }));
      return;
    }
  }
  await start();
});
