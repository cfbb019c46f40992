"use strict";
// One page: sign in, read, wait for the next round, look at the agreement.
const by = (id) => document.getElementById(id);
const state = {csrf: "", reasons: [], task: null, last: null, busy: false, other: false, adjudicates: false, round: null};
const viewer = new Viewer(by("picture"), () => showView());

// -- requests ------------------------------------------------------------------------------------------------------

async function request(path, body) {
  const options = {headers: {"x-kneeal-csrf": state.csrf}, credentials: "same-origin"};
  if (body !== undefined) {
    options.method = "POST";
    options.headers["content-type"] = "application/json";
    options.body = JSON.stringify(body);
  }
  const response = await fetch(path, options);
  if (response.status === 401) {
    view("enter");
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
    notice(`Not saved yet: ${said.error || "the server does not answer"}. Trying again; please keep this page open.`);
    await new Promise((resolve) => setTimeout(resolve, Math.min(5000, 500 * (tries + 1))));
  }
}

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
  for (const [tool, on] of [["invert", viewer.inverted], ["measure", viewer.measuring], ["boxes", viewer.showBoxes],
    ["other", state.other]]) {
    document.querySelector(`[data-tool="${tool}"]`).setAttribute("aria-pressed", String(Boolean(on)));
  }
  by("measured").textContent = viewer.measurements.length
    ? "Measured: " + viewer.measurements.map(({mm}) => mm === null ? "no scale known" : `${mm.toFixed(1)} mm`).join(", ")
    : "";
}

function showProgress({done, left, pace}) {
  const minutes = pace === null ? null : left * pace / 60;
  const time = minutes === null || left === 0 ? "" : minutes < 1 ? ", less than a minute at this pace"
    : `, about ${Math.round(minutes)} min at this pace`;
  by("progress").textContent = `${done} read, ${left} left${time}`;
}

// -- reading -------------------------------------------------------------------------------------------------------

async function take(said) {
  showProgress(said);
  if (!said.task) {
    state.task = null;
    viewer.clear();
    by("stage-note").textContent = "";
    showWait(said.status);
    return;
  }
  view("read");
  state.task = said.task;
  state.other = false;
  document.body.dataset.ready = "";
  const {task} = said;
  by("adjudication").hidden = !task.adjudication;
  by("adjudication").textContent = task.adjudication
    ? "Adjudication. The readings differ: " + task.grades.map((kl) => kl === null ? "unreadable" : kl).join(", ")
      + ". Your answer decides." : "";
  await showPicture(`api/task/${task.id}/picture`, task);
  state.seconds = 0;
  state.since = document.hidden ? null : performance.now();
  document.body.dataset.ready = String(task.id);
  by("undo").disabled = by("wait-undo").disabled = said.done === 0 && !state.last;
  announce(`${task.side === "L" ? "Left" : "Right"} knee. ${said.left} left.`
    + (task.adjudication ? " " + by("adjudication").textContent : ""));
}

async function showPicture(path, about, measurements = []) {
  const response = await request(path);
  if (!response.ok) throw new Error("no picture");
  await viewer.show(await response.blob(), about, measurements);
  if (viewer.measuring) viewer.startMeasuring(true);
  const side = about.side === "L" ? "Left" : "Right";
  by("stage-note").textContent = `${state.other ? "Other knee of the patient: " : ""}${side} knee`
    + (about.full ? "" : ", patches only") + (about.mm_per_px === null ? ", scale not known" : "");
  by("picture").setAttribute("aria-label", `Radiograph of a ${side.toLowerCase()} knee`
    + (about.full ? "" : ", both patches side by side"));
  showView();
}

function seconds() {
  return state.seconds + (state.since === null ? 0 : (performance.now() - state.since) / 1000);
}

async function answer(kl, reason) {
  const task = state.task;
  // A key that was meant for the knee before must not grade one that nobody has seen.
  if (!task || state.busy || document.body.dataset.ready !== String(task.id) || seconds() < 0.15) return;
  if (state.other) return notice("This is the other knee. Go back to the one that is asked for (O) to grade it.");
  state.busy = true;
  try {
    const {ok, data} = await change("api/answer", {task: task.id, seen: task.seen, nonce: nonce(), kl, reason,
      seconds: Math.round(seconds() * 1000) / 1000, measurements: viewer.measurements});
    if (ok) {
      state.last = task.id;
      by("opinion").disabled = false;
      await take(data);
    } else {
      const was = data;
      await take(await (await request("api/next")).json());
      notice(`${was.error}. ${was.cure || ""}`);
    }
  } finally {
    state.busy = false;
  }
}

async function undo() {
  if (state.busy) return;
  state.busy = true;
  try {
    const {ok, data} = await change("api/undo", {nonce: nonce()});
    if (ok) {
      state.last = null;
      by("opinion").disabled = true;
      await take(data);
      announce("The last answer is taken back.");
    } else {
      notice(`${data.error}. ${data.cure || ""}`);
    }
  } finally {
    state.busy = false;
  }
}

async function toggleOther() {
  const task = state.task;
  if (!task || state.busy) return;
  if (state.other) {
    state.other = false;
    await showPicture(`api/task/${task.id}/picture`, task, state.kept);
    return;
  }
  const {other} = await (await request(`api/task/${task.id}/other`)).json();
  if (!other) return notice("There is no other knee of this patient.");
  notice("");
  state.kept = viewer.measurements;  // of the knee that is asked for
  state.other = true;
  await showPicture(`api/task/${task.id}/other/picture`, other);
}

async function showOpinion() {
  if (!state.last) return;
  const {ok, data} = await change(`api/task/${state.last}/prediction`, {});
  if (!ok) return notice(`Not shown: ${data.error}.`);
  const body = by("prediction").querySelector("tbody");
  body.replaceChildren(...(data.probabilities || []).map((p, grade) => row([String(grade), `${(100 * p).toFixed(0)} %`])));
  body.parentElement.hidden = !data.probabilities;
  by("prediction-none").hidden = Boolean(data.probabilities);
  by("prediction").showModal();
}

// -- waiting -------------------------------------------------------------------------------------------------------

function showWait(status) {
  view("wait");
  const titles = {grading: "Nothing to read for you now", waiting: "This query is answered", training: "The next round is being made",
    finished: "The budget is spent", failed: "The next round could not be made"};
  const texts = {
    grading: status.disagreed ? `Readings of ${status.disagreed} knees differ and wait for an adjudicator.`
      : "Other readers are still at it.",
    waiting: status.auto ? "The next round is about to start." : "Every answer is stored. The next round starts with: kneeal tell RUN, then kneeal ask RUN.",
    training: "Every answer is stored. The network is trained on them and chooses the next knees; this page goes on by itself.",
    finished: "No more knees are asked for. Thank you.",
    failed: `Every answer is stored. ${status.message || ""}`,
  };
  by("wait-title").textContent = titles[status.phase];
  by("wait-text").textContent = texts[status.phase];
  const {progress} = status;
  by("wait-bar").hidden = status.phase !== "training";
  if (progress && progress.of) by("wait-bar").value = progress.done / progress.of;
  else by("wait-bar").removeAttribute("value");
  by("wait-progress").textContent = progress
    ? `${progress.what}: ${progress.done} of ${progress.of} ${progress.what === "training" ? "epochs" : "knees"}` : "";
  by("again").hidden = status.phase !== "failed";
  by("wait-undo").hidden = status.phase === "training" || status.phase === "finished";
  by("accuracy").hidden = !status.accuracy.length;
  by("accuracy").querySelector("tbody").replaceChildren(
    ...status.accuracy.map(([labels, accuracy]) => row([String(labels), `${(100 * accuracy).toFixed(1)} %`])));
}

setInterval(async () => {
  if (document.body.dataset.view !== "wait" || state.busy) return;
  try {
    const said = await (await request("api/next")).json();
    if (document.body.dataset.view === "wait" && !state.busy) await take(said);
  } catch {
    // The server is away for a moment; the next look may find it.
  }
}, 2000);

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
  if (!response.ok) return notice((await response.json()).error);
  const data = await response.json();
  const number = (value, digits = 2) => value === null ? "not defined" : value.toFixed(digits);
  const cells = (a) => [a.first, a.second, String(a.n), a.exact === null ? "" : `${(100 * a.exact).toFixed(0)} %`,
    number(a.quadratic) + (a.interval ? ` (${a.interval.map((x) => x.toFixed(2)).join(" to ")})` : ""), number(a.linear),
    String(a.unreadable)];
  const header = ["reading", "other reading", "knees", "same grade", "kappa, quadratic (95 %)", "kappa, linear", "unreadable"];
  by("rule").textContent = data.rule;
  by("tables").replaceChildren(
    table("Within readers: knees that were asked twice", header, data.within.map(cells)),
    table("Between readers", header, data.between.map(cells)),
    table("Time per knee", ["reader", "knees", "unreadable", "taken back", "median", "quartiles"], data.paces.map((p) => [
      p.reader, String(p.n), String(p.unreadable), String(p.undone), p.median === null ? "" : `${p.median.toFixed(1)} s`,
      p.quartiles ? p.quartiles.map((x) => `${x.toFixed(1)} s`).join(" to ") : ""])));
  view("agreement");
}

// -- keys and buttons ----------------------------------------------------------------------------------------------

const tools = {
  invert: () => viewer.invert(),
  "zoom-in": () => viewer.zoomBy(1.25),
  "zoom-out": () => viewer.zoomBy(0.8),
  reset: () => viewer.reset(),
  measure: () => { viewer.startMeasuring(!viewer.measuring); showView(); },
  boxes: () => { viewer.showBoxes = !viewer.showBoxes; viewer.draw(); showView(); },
  other: () => guarded(toggleOther),
};
const keys = {i: tools.invert, "+": tools["zoom-in"], "=": tools["zoom-in"], "-": tools["zoom-out"], r: tools.reset,
  m: tools.measure, b: tools.boxes, o: tools.other, z: () => guarded(undo), p: () => guarded(showOpinion),
  u: () => by("reasons").showModal(), g: () => { by("atlas").open = !by("atlas").open; }, "?": () => by("help").showModal()};
const arrows = {ArrowUp: [0, -1], ArrowDown: [0, 1], ArrowLeft: [-1, 0], ArrowRight: [1, 0]};

function guarded(work) {
  return work().catch((error) => {
    if (error.message !== "signed out") notice("The server does not answer. Nothing that was saved is lost; load the page again.");
  });
}

document.addEventListener("keydown", (event) => {
  if (event.ctrlKey || event.metaKey || event.altKey) return;
  const reasons = by("reasons").open;
  if (reasons && /^[1-9]$/.test(event.key)) {
    const button = by("reason-list").children[Number(event.key) - 1];
    if (button && !event.repeat) button.click();
    event.preventDefault();
    return;
  }
  if (document.querySelector("dialog[open]")) return;
  if (document.body.dataset.view === "wait" && event.key.toLowerCase() === "z" && !by("wait-undo").hidden) guarded(undo);
  if (document.body.dataset.view !== "read") return;
  const key = event.key.length === 1 ? event.key.toLowerCase() : event.key;
  if (/^[0-4]$/.test(key)) {
    if (!event.repeat) guarded(() => answer(Number(key), null));
  } else if (arrows[key]) {
    const [x, y] = arrows[key], step = event.shiftKey ? 10 : 1;
    if (viewer.measuring && viewer.mark) viewer.moveMark(x * step, y * step);
    else if (event.shiftKey) viewer.panBy(-40 * x, -40 * y);
    else viewer.windowBy(4 * y, 6 * x);
  } else if (viewer.measuring && key === "Enter" && event.target.tagName !== "BUTTON") {
    viewer.setMark();
  } else if (viewer.measuring && key === "Escape") {
    tools.measure();
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
  button.addEventListener("click", () => guarded(() => answer(Number(button.dataset.grade), null)));
}
for (const button of document.querySelectorAll("[data-close]")) {
  button.addEventListener("click", () => button.closest("dialog").close());
}
by("unreadable").addEventListener("click", () => by("reasons").showModal());
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
document.addEventListener("visibilitychange", () => {
  if (document.hidden && state.since !== null && state.since !== undefined) {
    state.seconds += (performance.now() - state.since) / 1000;
    state.since = null;
  } else if (!document.hidden && state.since === null) {
    state.since = performance.now();
  }
});

// -- begin ---------------------------------------------------------------------------------------------------------

async function start() {
  const me = await (await request("api/me")).json();
  state.csrf = me.csrf;
  state.reasons = me.reasons;
  state.adjudicates = me.adjudicates;
  by("reader").textContent = me.name;
  by("leave").hidden = false;
  by("show-agreement").hidden = !me.adjudicates;
  by("reason-list").replaceChildren(...me.reasons.map((reason, k) => {
    const button = document.createElement("button");
    button.type = "button";
    const key = Object.assign(document.createElement("kbd"), {textContent: String(k + 1)});
    button.append(key, ` ${reason}`);
    button.addEventListener("click", () => {
      by("reasons").close();
      guarded(() => answer(null, reason));
    });
    return button;
  }));
  await take(await (await request("api/next")).json());
}

guarded(async () => {
  const secret = location.hash.slice(1);
  if (secret) {
    // The secret stands behind the #, which browsers send to no server, and goes from the address and the history.
    history.replaceState(null, "", location.pathname);
    const response = await request("api/sign-in", {secret});
    if (!response.ok) {
      const said = await response.json();
      view("enter");
      notice(`This link cannot be used: ${said.expected}.`);
      try {
        await start();  // somebody who is signed in already opens an old link
        notice("");
      } catch { /* the notice says it */ }
      return;
    }
  }
  await start();
});
