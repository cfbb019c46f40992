"use strict";
// The picture: window, local contrast, zoom, magnifier, joint regions and measurements on a canvas. Knows nothing of answers.
// The knee that is asked for is always drawn; the patient's other knee may be drawn beside it, and never instead of it.

// Window presets, as shares of the pixels that are black and white.
const PRESETS = [["Standard", 0.005, 0.995], ["Dense bone", 0.4, 0.999], ["Soft tissue", 0.001, 0.85]];
const GAP = 0.04;  // between two knees, of the width of the first

// One picture with its gray values, up to 16 bits of them.
class Layer {
  static async decode(blob, about) {
    const bitmap = await createImageBitmap(blob, {colorSpaceConversion: "none", premultiplyAlpha: "none"});
    const layer = new Layer();
    layer.about = about;
    layer.canvas = document.createElement("canvas");
    layer.canvas.width = layer.width = bitmap.width;
    layer.canvas.height = layer.height = bitmap.height;
    const context = layer.canvas.getContext("2d", {willReadFrequently: true});
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const pixels = context.getImageData(0, 0, layer.width, layer.height).data;
    layer.gray = new Uint16Array(layer.width * layer.height);
    // Of 16 bits, red holds the high byte and green the low one.
    const deep = about.bits === 16;
    for (let k = 0; k < layer.gray.length; k++) {
      layer.gray[k] = deep ? (pixels[4 * k] << 8) | pixels[4 * k + 1] : pixels[4 * k] * 257;
    }
    return layer;
  }

  // Gray values with the coarse differences of brightness taken down and the fine ones raised.
  local() {
    if (this.flattened) return this.flattened;
    const {width, height, gray} = this, radius = Math.max(4, Math.round(Math.min(width, height) / 10));
    const sums = new Float64Array((width + 1) * (height + 1));
    for (let y = 0; y < height; y++) {
      let row = 0;
      for (let x = 0; x < width; x++) {
        row += gray[y * width + x];
        sums[(y + 1) * (width + 1) + x + 1] = sums[y * (width + 1) + x + 1] + row;
      }
    }
    const flat = this.flattened = new Uint16Array(gray.length);
    for (let y = 0; y < height; y++) {
      const top = Math.max(0, y - radius), bottom = Math.min(height, y + radius + 1);
      for (let x = 0; x < width; x++) {
        const left = Math.max(0, x - radius), right = Math.min(width, x + radius + 1);
        const mean = (sums[bottom * (width + 1) + right] - sums[top * (width + 1) + right]
          - sums[bottom * (width + 1) + left] + sums[top * (width + 1) + left]) / ((bottom - top) * (right - left));
        const value = 32768 + 0.3 * (mean - 32768) + 1.6 * (gray[y * width + x] - mean);
        flat[y * width + x] = Math.min(65535, Math.max(0, value));
      }
    }
    return flat;
  }

  // Gray values of black and white for a preset.
  ends(values, [, dark, bright]) {
    const counts = new Uint32Array(65536);
    for (const value of values) counts[value]++;
    let low = 0, high = 65535;
    for (let sum = counts[0]; sum < dark * values.length && low < 65535;) sum += counts[++low];
    for (let sum = counts[65535]; sum < (1 - bright) * values.length && high > low + 1;) sum += counts[--high];
    return [low, Math.max(high, low + 2048)];
  }

  paint({preset, level, width, inverted, contrast}) {
    const values = contrast ? this.local() : this.gray;
    const [low, high] = this.ends(values, PRESETS[preset]), span = (high - low) * width;
    const middle = (low + high) / 2 + level * (high - low);
    const table = new Uint8ClampedArray(65536);
    for (let value = 0; value < 65536; value++) {
      const shown = ((value - middle) / span + 0.5) * 255;
      table[value] = inverted ? 255 - shown : shown;
    }
    const image = new ImageData(this.width, this.height), words = new Uint32Array(image.data.buffer);
    for (let k = 0; k < words.length; k++) {
      const value = table[values[k]];
      words[k] = 0xff000000 | (value << 16) | (value << 8) | value;
    }
    this.canvas.getContext("2d").putImageData(image, 0, 0);
  }
}

class Viewer {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.pointers = new Map();
    this.measuring = null;  // {name} while lengths are measured
    this.showBoxes = false;
    this.magnifying = false;
    this.measurements = [];
    this.main = this.companion = null;
    this.pointer = null;
    // What stays from knee to knee.
    this.look = {preset: 0, level: 0, width: 1, inverted: false, contrast: false};
    this.view = {zoom: 1, x: 0.5, y: 0.5};
    new ResizeObserver(() => this.fit()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    canvas.addEventListener("pointerleave", () => { this.pointer = null; this.draw(); });
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.up(event));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY / 400), this.at(event));
    }, {passive: false});
  }

  // What is drawn as the knee that is asked for.
  get drawn() {
    return this.main ? this.main.about : null;
  }

  show(layer) {
    this.main = layer;
    this.companion = null;
    this.measurements = [];
    this.draft = null;
    if (this.measuring) this.startMeasuring(this.measuring.name);
    this.paint();
    this.fit();
    this.changed();
  }

  accompany(layer) {
    this.companion = layer;
    this.view = {zoom: 1, x: 0.5, y: 0.5};
    this.paint();
    this.fit();
    this.changed();
  }

  clear() {
    this.main = this.companion = null;
    this.measurements = [];
    this.draw();
  }

  reset() {
    this.look = {preset: 0, level: 0, width: 1, inverted: false, contrast: false};
    this.view = {zoom: 1, x: 0.5, y: 0.5};
    this.paint();
    this.fit();
    this.changed();
  }

  change(look) {
    Object.assign(this.look, look);
    this.look.level = Math.min(2, Math.max(-2, this.look.level));
    this.look.width = Math.min(4, Math.max(0.02, this.look.width));
    this.paint();
    this.draw();
    this.changed();
  }

  windowBy(level, width) {
    this.change({level: this.look.level + level, width: this.look.width * Math.exp(width)});
  }

  nextPreset() {
    this.change({preset: (this.look.preset + 1) % PRESETS.length, level: 0, width: 1});
  }

  paint() {
    for (const layer of [this.main, this.companion]) if (layer) layer.paint(this.look);
  }

  // Where the other knee is drawn, in px of the main picture: its left knee on the right, as on a radiograph.
  beside() {
    const {main, companion} = this;
    const known = main.about.mm_per_px !== null && companion.about.mm_per_px !== null;
    const ratio = known ? companion.about.mm_per_px / main.about.mm_per_px : main.height / companion.height;
    const width = companion.width * ratio, height = companion.height * ratio, gap = GAP * main.width;
    return {x: main.about.side === "R" ? main.width + gap : -gap - width, y: (main.height - height) / 2, width, height};
  }

  bounds() {
    const {main} = this, box = {x: 0, y: 0, width: main.width, height: main.height};
    if (!this.companion) return box;
    const other = this.beside(), x = Math.min(0, other.x), y = Math.min(0, other.y);
    return {x, y, width: Math.max(main.width, other.x + other.width) - x, height: Math.max(main.height, other.y + other.height) - y};
  }

  fit() {
    const ratio = window.devicePixelRatio || 1;
    const box = this.canvas.getBoundingClientRect();
    const width = Math.max(1, Math.round(box.width * ratio)), height = Math.max(1, Math.round(box.height * ratio));
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
    }
    if (this.main) {
      const all = this.bounds();
      this.fitted = 0.96 * Math.min(width / all.width, height / all.height);
      this.scale = this.fitted * this.view.zoom;
      this.x = width / 2 - this.scale * (all.x + this.view.x * all.width);
      this.y = height / 2 - this.scale * (all.y + this.view.y * all.height);
    }
    this.draw();
  }

  zoomBy(factor, at = [this.canvas.width / 2, this.canvas.height / 2]) {
    if (!this.main) return;
    const scale = Math.min(60, Math.max(0.05, this.scale * factor));
    this.x = at[0] - (at[0] - this.x) * scale / this.scale;
    this.y = at[1] - (at[1] - this.y) * scale / this.scale;
    this.scale = scale;
    this.remember();
  }

  panBy(x, y) {
    if (!this.main) return;
    this.x += x;
    this.y += y;
    this.remember();
  }

  remember() {
    const all = this.bounds();
    this.view = {
      zoom: this.scale / this.fitted,
      x: ((this.canvas.width / 2 - this.x) / this.scale - all.x) / all.width,
      y: ((this.canvas.height / 2 - this.y) / this.scale - all.y) / all.height,
    };
    this.draw();
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect(), ratio = this.canvas.width / box.width;
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  }

  toPicture([x, y]) {
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }

  toCanvas([x, y]) {
    return [this.x + x * this.scale, this.y + y * this.scale];
  }

  down(event) {
    if (!this.main) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.at(event));
    if (this.measuring && this.pointers.size === 1 && event.button === 0) {
      const point = this.toPicture(this.at(event));
      this.draft = {from: point, to: point, dragging: true};
    }
  }

  move(event) {
    this.pointer = this.at(event);
    const before = this.pointers.get(event.pointerId);
    if (!before || !this.main) {
      if (this.magnifying) this.draw();
      return;
    }
    const now = this.at(event);
    const dx = now[0] - before[0], dy = now[1] - before[1];
    if (this.pointers.size === 2) {
      const [other] = [...this.pointers].filter(([id]) => id !== event.pointerId).map(([, at]) => at);
      const was = Math.hypot(before[0] - other[0], before[1] - other[1]);
      const is = Math.hypot(now[0] - other[0], now[1] - other[1]);
      this.draft = null;
      if (was > 0) this.zoomBy(is / was, [(now[0] + other[0]) / 2, (now[1] + other[1]) / 2]);
      this.panBy(dx / 2, dy / 2);
    } else if (event.buttons & 6 || event.shiftKey) {
      this.panBy(dx, dy);
    } else if (this.draft && this.draft.dragging) {
      this.draft.to = this.toPicture(now);
      this.draw();
    } else {
      this.windowBy(dy * 0.002, dx * 0.004);
    }
    this.pointers.set(event.pointerId, now);
  }

  up(event) {
    this.pointers.delete(event.pointerId);
    if (this.draft && this.draft.dragging) {
      const {from, to} = this.draft;
      this.draft = null;
      if (Math.hypot(to[0] - from[0], to[1] - from[1]) >= 1) this.keep(from, to);
      this.draw();
    }
  }

  // Measuring with keys: a mark, moved by arrows, that is set twice. A name says which joint-space width it is.
  startMeasuring(name) {
    this.measuring = {name};
    this.draft = null;
    this.mark = this.main ? [this.main.width / 2, this.main.height / 2] : null;
    this.draw();
  }

  stopMeasuring() {
    this.measuring = this.draft = this.mark = null;
    this.draw();
  }

  moveMark(x, y) {
    const step = Math.min(1, this.fitted / this.scale);  // the further in, the finer: below a pixel
    this.mark = [this.mark[0] + x * step, this.mark[1] + y * step];
    if (this.draft) this.draft.to = this.mark;
    this.draw();
  }

  setMark() {
    if (!this.draft) {
      this.draft = {from: this.mark, to: this.mark};
    } else {
      this.keep(this.draft.from, this.mark);
      this.draft = null;
    }
    this.draw();
  }

  keep([x0, y0], [x1, y1]) {
    const scale = this.main.about.mm_per_px, name = this.measuring ? this.measuring.name : null;
    if (name) this.measurements = this.measurements.filter((other) => other.name !== name);
    this.measurements.push({x0, y0, x1, y1, mm: scale === null ? null : Math.hypot(x1 - x0, y1 - y0) * scale, name});
    this.changed();
  }

  forgetMeasurement() {
    this.draft = null;
    this.measurements.pop();
    this.draw();
    this.changed();
  }

  static describe({mm, name}) {
    const length = mm === null ? "no scale known" : `${mm.toFixed(name ? 2 : 1)} mm`;
    return name ? `JSW ${name} ${length}` : length;
  }

  draw() {
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.main) return;
    const ratio = window.devicePixelRatio || 1;
    this.drawKnees(context);
    if (this.companion) {
      const other = this.beside();
      this.drawBox(context, {x: 0, y: 0, width: this.main.width, height: this.main.height}, "Grade this knee", "#7cc4ff", 3 * ratio, ratio);
      this.drawBox(context, other, "Other knee, to compare", "#b9c2cb", 0, ratio);
    }
    if (this.showBoxes) {
      this.drawBox(context, this.main.about.medial, "Medial", "#ffd166", 1.5 * ratio, ratio);
      this.drawBox(context, this.main.about.lateral, "Lateral", "#7cc4ff", 1.5 * ratio, ratio);
    }
    for (const measurement of this.measurements) {
      const {x0, y0, x1, y1} = measurement;
      this.drawLine(context, [x0, y0], [x1, y1], Viewer.describe(measurement), ratio);
    }
    if (this.draft) this.drawLine(context, this.draft.from, this.draft.to, "", ratio);
    if (this.measuring && this.mark) {
      const [x, y] = this.toCanvas(this.mark);
      context.strokeStyle = "#7dff9b";
      context.lineWidth = ratio;
      context.beginPath();
      context.moveTo(x - 12 * ratio, y); context.lineTo(x + 12 * ratio, y);
      context.moveTo(x, y - 12 * ratio); context.lineTo(x, y + 12 * ratio);
      context.stroke();
    }
    if (this.magnifying) this.drawMagnifier(context, ratio);
  }

  drawKnees(context) {
    context.imageSmoothingQuality = "high";
    const place = (layer, {x, y, width, height}) => {
      const [left, top] = this.toCanvas([x, y]);
      context.drawImage(layer.canvas, left, top, width * this.scale, height * this.scale);
    };
    place(this.main, {x: 0, y: 0, width: this.main.width, height: this.main.height});
    if (this.companion) place(this.companion, this.beside());
  }

  // A round glass at the pointer, or in the middle where the keyboard alone is used.
  drawMagnifier(context, ratio) {
    const [x, y] = this.pointer || [this.canvas.width / 2, this.canvas.height / 2], radius = 110 * ratio, power = 2.5;
    context.save();
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.clip();
    context.fillStyle = "#000";
    context.fillRect(x - radius, y - radius, 2 * radius, 2 * radius);
    context.translate(x, y);
    context.scale(power, power);
    context.translate(-x, -y);
    this.drawKnees(context);
    context.restore();
    context.beginPath();
    context.arc(x, y, radius, 0, 2 * Math.PI);
    context.strokeStyle = "#8b97a3";
    context.lineWidth = 2 * ratio;
    context.stroke();
  }

  drawBox(context, box, name, color, width, ratio) {
    if (!box) return;
    const [x, y] = this.toCanvas([box.x, box.y]);
    context.strokeStyle = color;
    context.lineWidth = width;
    if (width) context.strokeRect(x, y, box.width * this.scale, box.height * this.scale);
    this.label(context, name, x + 6 * ratio, y + box.height * this.scale - 8 * ratio, color, ratio);
  }

  drawLine(context, from, to, text, ratio) {
    const a = this.toCanvas(from), b = this.toCanvas(to);
    context.strokeStyle = "#7dff9b";
    context.lineWidth = 1.5 * ratio;
    context.beginPath();
    context.moveTo(...a);
    context.lineTo(...b);
    context.stroke();
    if (text) this.label(context, text, b[0] + 6 * ratio, b[1], "#7dff9b", ratio);
  }

  label(context, text, x, y, color, ratio) {
    context.font = `${14 * ratio}px system-ui, "DejaVu Sans", sans-serif`;
    const width = context.measureText(text).width;
    x = Math.max(0, Math.min(x, this.canvas.width - width - 6 * ratio));
    y = Math.max(16 * ratio, Math.min(y, this.canvas.height - 6 * ratio));
    context.fillStyle = "rgba(0, 0, 0, 0.75)";
    context.fillRect(x - 3 * ratio, y - 14 * ratio, width + 6 * ratio, 19 * ratio);
    context.fillStyle = color;
    context.fillText(text, x, y);
  }
}
