// The first convolution, to be looked at number by number. Everything is computed from the image and the weights in the page.
(() => {
  "use strict";
  const get = (id) => document.getElementById(id);
  const d = JSON.parse(get("x-data").textContent);
  const bytes = (text) => Uint8Array.from(atob(text), (c) => c.charCodeAt(0));
  const floats = (text) => new Float32Array(bytes(text).buffer);
  const [h, w, channels] = d.image, [kh, kw] = d.kernel, [oh, ow] = d.output;
  const weight = floats(d.weight), bias = d.bias ? floats(d.bias) : null, palette = bytes(d.palette);
  const perGroup = channels / d.groups;
  const image = Float32Array.from(bytes(d.bytes), (b, i) => (b / 255 - d.mean[i % channels]) / d.std[i % channels]);

  const text = (value, digits) => {
    const fixed = value.toFixed(digits);
    return fixed.startsWith("-") ? (/[1-9]/.test(fixed) ? "\u2212" + fixed.slice(1) : fixed.slice(1)) : fixed;
  };
  const rgb = (value, most) => {
    const at = Math.max(0, Math.min(255, Math.round(127.5 + 127.5 * (most > 0 ? value / most : 0)))) * 3;
    return [palette[at], palette[at + 1], palette[at + 2]];
  };
  // Of WCAG 2: below 0.179 white text has more contrast than black text.
  const luminance = (colour) => {
    const [r, g, b] = colour.map((v) => (v / 255 <= 0.03928 ? v / 255 / 12.92 : ((v / 255 + 0.055) / 1.055) ** 2.4));
    return 0.2126 * r + 0.7152 * g + 0.0722 * b;
  };
  const tapAt = (filter, row, column, i) => {
    const dy = Math.floor(i / (kw * perGroup)), dx = Math.floor(i / perGroup) % kw;
    const y = row * d.stride[0] + dy * d.dilation[0] - d.padding[0];
    const x = column * d.stride[1] + dx * d.dilation[1] - d.padding[1];
    const channel = Math.floor(filter / (d.filters / d.groups)) * perGroup + (i % perGroup);
    const inside = y >= 0 && y < h && x >= 0 && x < w;
    return { inside, channel, x: inside ? image[(y * w + x) * channels + channel] : 0, weight: weight[i * d.filters + filter] };
  };
  const taps = kh * kw * perGroup;
  const output = (filter, row, column) => {
    let sum = bias ? bias[filter] : 0;
    for (let i = 0; i < taps; i++) {
      const tap = tapAt(filter, row, column, i);
      sum += tap.x * tap.weight;
    }
    return sum;
  };

  const map = get("x-map"), input = get("x-input");
  const rowSlider = get("x-row"), columnSlider = get("x-column"), select = get("x-filter");
  const sumLine = get("x-sum");
  const at = (name) => sumLine.querySelector(`[data-at="${name}"]`);
  let values = null, most = 0, shown = -1;

  const drawMap = (filter, row, column) => {
    const scale = Math.max(1, Math.floor(600 / Math.max(oh, ow)));
    if (shown !== filter) {
      values = new Float32Array(oh * ow);
      for (let y = 0; y < oh; y++) for (let x = 0; x < ow; x++) values[y * ow + x] = output(filter, y, x);
      most = values.reduce((largest, value) => Math.max(largest, Math.abs(value)), 0);
      shown = filter;
    }
    map.width = ow * scale;
    map.height = oh * scale;
    const context = map.getContext("2d");
    for (let y = 0; y < oh; y++) {
      for (let x = 0; x < ow; x++) {
        context.fillStyle = `rgb(${rgb(values[y * ow + x], most).join()})`;
        context.fillRect(x * scale, y * scale, scale, scale);
      }
    }
    frame(context, column * scale, row * scale, scale, scale);
  };
  const drawInput = (row, column) => {
    const scale = Math.max(1, Math.floor(600 / Math.max(h, w)));
    input.width = w * scale;
    input.height = h * scale;
    const left = column * d.stride[1] - d.padding[1], top = row * d.stride[0] - d.padding[0];
    const wide = (kw - 1) * d.dilation[1] + 1, tall = (kh - 1) * d.dilation[0] + 1;
    frame(input.getContext("2d"), left * scale, top * scale, wide * scale, tall * scale);
  };
  const frame = (context, x, y, width, height) => {
    context.lineWidth = 8;
    context.strokeStyle = "#fff";
    context.strokeRect(x, y, width, height);
    context.lineWidth = 4;
    context.strokeStyle = "#c2410c";
    context.strokeRect(x, y, width, height);
  };
  const cell = (kind, i, value, most, inside) => {
    const element = document.querySelector(`[data-${kind}="${i}"]`);
    if (!element) return;
    const colour = rgb(value, most);
    element.textContent = text(value, 2);
    element.style.background = `rgb(${colour.join()})`;
    element.classList.toggle("light", luminance(colour) < 0.179);
    element.classList.toggle("outside", !inside);
  };

  const show = () => {
    const filter = Number(select.value), row = Number(rowSlider.value), column = Number(columnSlider.value);
    drawMap(filter, row, column);
    drawInput(row, column);
    const all = Array.from({ length: taps }, (_, i) => tapAt(filter, row, column, i));
    const mostX = Math.max(...all.map((tap) => Math.abs(tap.x))), mostW = Math.max(...all.map((tap) => Math.abs(tap.weight)));
    const sums = new Array(channels).fill(0);
    all.forEach((tap, i) => {
      sums[tap.channel] += tap.x * tap.weight;
      cell("x", i, tap.x, mostX, tap.inside);
      cell("w", i, tap.weight, mostW, tap.inside);
      cell("p", i, tap.x * tap.weight, mostX * mostW, tap.inside);
    });
    at("row").textContent = row;
    at("column").textContent = column;
    sums.forEach((sum, k) => { sumLine.querySelector(`[data-sum="${k}"]`).textContent = text(sum, 4); });
    if (bias) sumLine.querySelector("[data-bias]").textContent = text(bias[filter], 4);
    const total = sums.reduce((a, b) => a + b, bias ? bias[filter] : 0);
    sumLine.querySelector("[data-total]").textContent = text(total, 4);
    get("x-terms").textContent = all.map((tap) => `${text(tap.x, 3)} \u00d7 ${text(tap.weight, 3)}`).join(" + ");
    get("x-name").textContent = filter;
    document.querySelectorAll("[data-filter]").forEach((tile) => {
      tile.setAttribute("aria-pressed", String(Number(tile.dataset.filter) === filter));
    });
  };
  const move = (row, column) => {
    rowSlider.value = Math.max(0, Math.min(oh - 1, row));
    columnSlider.value = Math.max(0, Math.min(ow - 1, column));
    show();
  };
  const point = (event) => {
    const box = map.getBoundingClientRect();
    move(Math.floor((event.clientY - box.top) / box.height * oh), Math.floor((event.clientX - box.left) / box.width * ow));
  };
  map.addEventListener("pointermove", point);
  map.addEventListener("pointerdown", point);
  map.addEventListener("keydown", (event) => {
    const steps = { ArrowUp: [-1, 0], ArrowDown: [1, 0], ArrowLeft: [0, -1], ArrowRight: [0, 1] };
    const step = steps[event.key];
    if (!step) return;
    event.preventDefault();
    move(Number(rowSlider.value) + step[0], Number(columnSlider.value) + step[1]);
  });
  [rowSlider, columnSlider, select].forEach((control) => control.addEventListener("input", show));
  document.querySelectorAll("[data-filter]").forEach((tile) => tile.addEventListener("click", () => {
    select.value = tile.dataset.filter;
    show();
  }));
  show();
})();
