"use strict";
// The picture: window and level, zoom, inversion, patches and measurements on a canvas. Knows nothing of answers.
class Viewer {
  constructor(canvas, changed) {
    this.canvas = canvas;
    this.changed = changed;
    this.layer = document.createElement("canvas");
    this.pointers = new Map();
    this.measuring = false;
    this.showBoxes = true;
    this.measurements = [];
    this.picture = null;
    new ResizeObserver(() => this.fit()).observe(canvas);
    canvas.addEventListener("pointerdown", (event) => this.down(event));
    canvas.addEventListener("pointermove", (event) => this.move(event));
    for (const name of ["pointerup", "pointercancel"]) canvas.addEventListener(name, (event) => this.up(event));
    canvas.addEventListener("contextmenu", (event) => event.preventDefault());
    canvas.addEventListener("wheel", (event) => {
      event.preventDefault();
      this.zoomBy(Math.exp(-event.deltaY / 400), this.at(event));
    }, {passive: false});
  }

  async show(blob, about, measurements = []) {
    const bitmap = await createImageBitmap(blob);
    const {width, height} = bitmap;
    this.layer.width = width;
    this.layer.height = height;
    const context = this.layer.getContext("2d", {willReadFrequently: true});
    context.drawImage(bitmap, 0, 0);
    bitmap.close();
    const pixels = context.getImageData(0, 0, width, height).data;
    this.grey = new Uint8Array(width * height);
    for (let k = 0; k < this.grey.length; k++) this.grey[k] = pixels[4 * k];
    this.picture = about;
    this.measurements = measurements;
    this.draft = null;
    this.inverted = false;
    this.autoWindow();
    this.fit(true);
  }

  clear() {
    this.picture = null;
    this.draw();
  }

  reset() {
    this.inverted = false;
    this.autoWindow();
    this.fit(true);
    this.changed();
  }

  autoWindow() {
    const counts = new Uint32Array(256);
    for (const value of this.grey) counts[value]++;
    const cut = this.grey.length * 0.005;
    let low = 0, high = 255;
    for (let sum = counts[0]; sum < cut && low < 255;) sum += counts[++low];
    for (let sum = counts[255]; sum < cut && high > low + 1;) sum += counts[--high];
    this.level = (low + high) / 2;
    this.width = Math.max(8, high - low);
    this.paint();
  }

  windowBy(level, width) {
    this.level = Math.min(320, Math.max(-64, this.level + level));
    this.width = Math.min(512, Math.max(4, this.width + width));
    this.paint();
    this.draw();
    this.changed();
  }

  invert() {
    this.inverted = !this.inverted;
    this.paint();
    this.draw();
    this.changed();
  }

  // Grey values through window and level onto the layer.
  paint() {
    const table = new Uint8ClampedArray(256);
    for (let value = 0; value < 256; value++) {
      const shown = ((value - this.level) / this.width + 0.5) * 255;
      table[value] = this.inverted ? 255 - shown : shown;
    }
    const image = new ImageData(this.layer.width, this.layer.height);
    const words = new Uint32Array(image.data.buffer);
    for (let k = 0; k < words.length; k++) {
      const value = table[this.grey[k]];
      words[k] = 0xff000000 | (value << 16) | (value << 8) | value;
    }
    this.layer.getContext("2d").putImageData(image, 0, 0);
  }

  fit(again = false) {
    const ratio = window.devicePixelRatio || 1;
    const box = this.canvas.getBoundingClientRect();
    const width = Math.max(1, Math.round(box.width * ratio)), height = Math.max(1, Math.round(box.height * ratio));
    if (this.canvas.width !== width || this.canvas.height !== height) {
      this.canvas.width = width;
      this.canvas.height = height;
      again = true;
    }
    if (again && this.picture) {
      this.scale = 0.96 * Math.min(width / this.layer.width, height / this.layer.height);
      this.x = (width - this.scale * this.layer.width) / 2;
      this.y = (height - this.scale * this.layer.height) / 2;
    }
    this.draw();
  }

  zoomBy(factor, at = [this.canvas.width / 2, this.canvas.height / 2]) {
    if (!this.picture) return;
    const scale = Math.min(60, Math.max(0.05, this.scale * factor));
    this.x = at[0] - (at[0] - this.x) * scale / this.scale;
    this.y = at[1] - (at[1] - this.y) * scale / this.scale;
    this.scale = scale;
    this.draw();
  }

  panBy(x, y) {
    this.x += x;
    this.y += y;
    this.draw();
  }

  at(event) {
    const box = this.canvas.getBoundingClientRect(), ratio = this.canvas.width / box.width;
    return [(event.clientX - box.left) * ratio, (event.clientY - box.top) * ratio];
  }

  toPicture([x, y]) {
    return [(x - this.x) / this.scale, (y - this.y) / this.scale];
  }

  down(event) {
    if (!this.picture) return;
    this.canvas.setPointerCapture(event.pointerId);
    this.pointers.set(event.pointerId, this.at(event));
    if (this.measuring && this.pointers.size === 1 && event.button === 0) {
      const point = this.toPicture(this.at(event));
      this.draft = {from: point, to: point, dragging: true};
    }
  }

  move(event) {
    const before = this.pointers.get(event.pointerId);
    if (!before || !this.picture) return;
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
      this.windowBy(dy * 0.4, dx * 0.6);
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

  // Measuring with keys: a mark, moved by arrows, that is set twice.
  startMeasuring(on) {
    this.measuring = on;
    this.draft = null;
    this.mark = on && this.picture ? [this.layer.width / 2, this.layer.height / 2] : null;
    this.draw();
  }

  moveMark(x, y) {
    this.mark = [this.mark[0] + x, this.mark[1] + y];
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
    const scale = this.picture.mm_per_px;
    this.measurements.push({x0, y0, x1, y1, mm: scale === null ? null : Math.hypot(x1 - x0, y1 - y0) * scale});
    this.changed();
  }

  forgetMeasurement() {
    this.draft = null;
    this.measurements.pop();
    this.draw();
    this.changed();
  }

  draw() {
    const context = this.canvas.getContext("2d");
    context.setTransform(1, 0, 0, 1, 0, 0);
    context.fillStyle = "#000";
    context.fillRect(0, 0, this.canvas.width, this.canvas.height);
    if (!this.picture) return;
    context.imageSmoothingQuality = "high";
    context.drawImage(this.layer, this.x, this.y, this.scale * this.layer.width, this.scale * this.layer.height);
    const ratio = window.devicePixelRatio || 1;
    if (this.showBoxes) {
      this.drawBox(context, this.picture.medial, "Medial", "#ffd166", ratio);
      this.drawBox(context, this.picture.lateral, "Lateral", "#7cc4ff", ratio);
    }
    for (const {x0, y0, x1, y1, mm} of this.measurements) this.drawLine(context, [x0, y0], [x1, y1], mm, ratio);
    if (this.draft) this.drawLine(context, this.draft.from, this.draft.to, undefined, ratio);
    if (this.measuring && this.mark) {
      const [x, y] = this.toCanvas(this.mark);
      context.strokeStyle = "#7dff9b";
      context.lineWidth = ratio;
      context.beginPath();
      context.moveTo(x - 12 * ratio, y); context.lineTo(x + 12 * ratio, y);
      context.moveTo(x, y - 12 * ratio); context.lineTo(x, y + 12 * ratio);
      context.stroke();
    }
  }

  toCanvas([x, y]) {
    return [this.x + x * this.scale, this.y + y * this.scale];
  }

  drawBox(context, box, name, colour, ratio) {
    if (!box) return;
    const [x, y] = this.toCanvas([box.x, box.y]);
    context.strokeStyle = colour;
    context.lineWidth = 1.5 * ratio;
    context.strokeRect(x, y, box.width * this.scale, box.height * this.scale);
    this.label(context, name, x + 4 * ratio, y + box.height * this.scale + 18 * ratio, colour, ratio);
  }

  drawLine(context, from, to, mm, ratio) {
    const a = this.toCanvas(from), b = this.toCanvas(to);
    context.strokeStyle = "#7dff9b";
    context.lineWidth = 1.5 * ratio;
    context.beginPath();
    context.moveTo(...a);
    context.lineTo(...b);
    context.stroke();
    if (mm !== undefined) {
      this.label(context, mm === null ? "no scale" : `${mm.toFixed(1)} mm`, b[0] + 6 * ratio, b[1], "#7dff9b", ratio);
    }
  }

  label(context, text, x, y, colour, ratio) {
    context.font = `${14 * ratio}px system-ui, "DejaVu Sans", sans-serif`;
    const width = context.measureText(text).width;
    context.fillStyle = "rgba(0, 0, 0, 0.75)";
    context.fillRect(x - 3 * ratio, y - 14 * ratio, width + 6 * ratio, 19 * ratio);
    context.fillStyle = colour;
    context.fillText(text, x, y);
  }
}
