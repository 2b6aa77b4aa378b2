// Drawing: pure functions of the data, a geometry and the theme's colours. No state, no events.
const KEYS = 46, BARS = 20, RULER = 44;
const TRACK_COLOURS = ["#5b6ef5", "#0d9488", "#d97706", "#be185d", "#0284c7", "#65a30d", "#9333ea", "#dc2626"];
const ADDED = "#16a34a", KEPT = "#8892a6";
const removedColour = () => document.body.classList.contains("dark") ? "#fca5a5" : "#dc2626";
const BLACK = [1, 3, 6, 8, 10];

function theme(element) {
  const style = getComputedStyle(element), get = (name, other) => style.getPropertyValue(name).trim() || other;
  return {
    text: get("--body-text-color", "#1f2937"), faint: get("--body-text-color-subdued", "#6b7280"),
    line: get("--border-color-primary", "#e5e7eb"), paper: get("--background-fill-primary", "#fff"),
    shade: get("--background-fill-secondary", "#f3f4f6"), accent: get("--color-accent", "#6366f1"),
    font: get("--font", "sans-serif") || "sans-serif",
  };
}

// A canvas of width x height CSS pixels, sharp on any screen; returns its context, cleared.
function fit(canvas, width, height) {
  const ratio = Math.min(window.devicePixelRatio || 1, 16000 / Math.max(width, 1));
  canvas.width = Math.max(1, Math.round(width * ratio));
  canvas.height = Math.max(1, Math.round(height * ratio));
  canvas.style.width = width + "px";
  canvas.style.height = height + "px";
  const g = canvas.getContext("2d");
  g.setTransform(ratio, 0, 0, ratio, 0, 0);
  g.clearRect(0, 0, width, height);
  return g;
}

// Where things lie: the pitch rows shown are those in use with a margin, two octaves at least.
function geometry(data, width, height) {
  let low = 127, high = 0;
  for (const track of data.tracks) for (const list of [track.notes, track.removed]) for (const n of list) {
    low = Math.min(low, n[1]);
    high = Math.max(high, n[1]);
  }
  if (low > high) { low = 57; high = 71; }
  low -= 2; high += 2;
  while (high - low < 23) { low--; if (high - low < 23) high++; }
  const ticks = data.bars * data.bar_ticks, row = height / (high - low + 1);
  return {
    width, height, low, high, ticks, row, bar: width / data.bars,
    x: (tick) => tick / ticks * width, y: (pitch) => (high - pitch) * row, tick: (x) => x / width * ticks,
  };
}

function drawKeys(canvas, geo, colour) {
  const g = fit(canvas, KEYS, RULER + geo.height);
  g.fillStyle = colour.shade;
  g.fillRect(0, 0, KEYS, RULER);
  for (let pitch = geo.low; pitch <= geo.high; pitch++) {
    const y = RULER + geo.y(pitch), black = BLACK.includes(((pitch % 12) + 12) % 12);
    g.fillStyle = black ? "#30343f" : "#fbfbfd";
    g.fillRect(0, y, black ? KEYS * .62 : KEYS, geo.row + .5);
    if (black) { g.fillStyle = "#fbfbfd"; g.fillRect(KEYS * .62, y, KEYS, geo.row + .5); }
    if (pitch % 12 === 0 || pitch % 12 === 5) {
      g.fillStyle = "#c3c8d4";
      g.fillRect(0, y + geo.row - .5, KEYS, 1);
    }
  }
  // After all the keys, so that no key hides a name; every second octave where the rows are thin.
  g.fillStyle = "#3b4252";
  g.font = `600 ${Math.max(9, Math.min(11, geo.row + 2))}px ${colour.font}`;
  g.textAlign = "right";
  g.textBaseline = "middle";
  const every = geo.row * 12 < 16 ? 24 : 12;
  for (let pitch = Math.ceil(geo.low / every) * every; pitch <= geo.high; pitch += every)
    g.fillText("C" + (pitch / 12 - 1), KEYS - 4, Math.min(RULER + geo.height - 6, RULER + geo.y(pitch) + geo.row / 2));
  g.fillStyle = colour.line;
  g.fillRect(KEYS - 1, 0, 1, RULER + geo.height);
  g.fillRect(0, RULER - 1, KEYS, 1);
}

function drawRuler(canvas, data, geo, colour) {
  const g = fit(canvas, geo.width, RULER);
  g.fillStyle = colour.shade;
  g.fillRect(0, 0, geo.width, RULER);
  g.textBaseline = "middle";
  g.textAlign = "left";
  const every = Math.ceil(24 / geo.bar);
  for (let bar = 0; bar < data.bars; bar++) {
    g.fillStyle = colour.line;
    g.fillRect(Math.round(bar * geo.bar), 0, 1, RULER);
    if (bar % every) continue;
    g.fillStyle = colour.faint;
    g.font = `11px ${colour.font}`;
    g.fillText(bar + 1, bar * geo.bar + 5, BARS / 2 + 1);
  }
  for (const [start, end, name] of data.chords) {
    const x = geo.x(start), width = geo.x(end) - x;
    g.fillStyle = colour.accent;
    g.globalAlpha = .16;
    g.beginPath();
    g.roundRect(x + 1.5, BARS + 1, Math.max(1, width - 3), RULER - BARS - 5, 4);
    g.fill();
    g.globalAlpha = 1;
    g.fillStyle = colour.text;
    let size = 12;
    do g.font = `600 ${size}px ${colour.font}`; while (g.measureText(name).width > width - 6 && --size >= 8);
    if (size >= 8) g.fillText(name, x + 5, BARS + (RULER - BARS - 3) / 2);
  }
  g.fillStyle = colour.line;
  g.fillRect(0, RULER - 1, geo.width, 1);
}

function drawGrid(g, data, geo, colour) {
  for (let pitch = geo.low; pitch <= geo.high; pitch++) {
    const pc = ((pitch % 12) + 12) % 12, y = geo.y(pitch);
    const known = data.scale.length > 0, inside = known ? data.scale.includes(pc) : !BLACK.includes(pc);
    if (pc === data.tonic) {
      g.fillStyle = colour.accent;
      g.globalAlpha = .13;
    } else {
      g.fillStyle = inside ? colour.paper : colour.text;
      g.globalAlpha = inside ? 1 : .075;
    }
    g.fillRect(0, y, geo.width, geo.row + .3);
    g.globalAlpha = 1;
    if (pc === 0 || pc === 5) { g.fillStyle = colour.line; g.fillRect(0, y + geo.row - .5, geo.width, 1); }
  }
  const beat = geo.x(data.beat_ticks);
  for (let x = 0, i = 0; x < geo.width - 1; i++, x = i * beat) {
    const bar = (i * data.beat_ticks) % data.bar_ticks === 0;
    if (!bar && beat < 7) continue;
    g.fillStyle = bar ? colour.faint : colour.line;
    g.globalAlpha = bar ? .55 : .7;
    g.fillRect(Math.round(x), 0, 1, geo.height);
    g.globalAlpha = 1;
  }
}

// Diagonal lines in one colour: a second sign beside the colour for those who cannot tell colours apart.
function hatch(g, colour, gap) {
  const tile = document.createElement("canvas");
  tile.width = tile.height = gap;
  const t = tile.getContext("2d");
  t.strokeStyle = colour;
  t.lineWidth = gap / 4;
  t.beginPath();
  for (const d of [-gap, 0, gap]) { t.moveTo(d, gap); t.lineTo(d + gap, 0); }
  t.stroke();
  return g.createPattern(tile, "repeat");
}

// One note in one of the styles "plain", "kept", "added", "removed".
function drawNote(g, x, y, width, height, style, colour, strength) {
  g.beginPath();
  g.roundRect(x + .5, y + .5, Math.max(2, width - 1), Math.max(2, height - 1), Math.min(3, height / 3));
  if (style === "removed") {
    g.fillStyle = hatch(g, removedColour(), 6);
    g.globalAlpha = .6;
    g.fill();
    g.globalAlpha = 1;
    g.strokeStyle = removedColour();
    g.setLineDash([3, 2]);
    g.lineWidth = 1;
    g.stroke();
    g.setLineDash([]);
    return;
  }
  g.globalAlpha = style === "kept" ? .6 : strength;
  g.fillStyle = style === "kept" ? KEPT : style === "added" ? ADDED : colour;
  g.fill();
  g.globalAlpha = 1;
  if (style !== "kept") { g.strokeStyle = style === "added" ? "#14532d" : colour; g.lineWidth = 1; g.stroke(); }
}

function drawNotes(canvas, data, geo, colour, view) {
  const g = fit(canvas, geo.width, geo.height);
  drawGrid(g, data, geo, colour);
  data.tracks.forEach((track, i) => {
    const paint = TRACK_COLOURS[i % TRACK_COLOURS.length];
    const one = (n, style) => {
      const x = geo.x(n[0]), y = geo.y(n[1]), width = geo.x(n[2]);
      drawNote(g, x, y, width, geo.row, style, paint, .3 + .7 * n[3] / 127);
      if (view !== "changes" && data.scale.length && !data.scale.includes(n[1] % 12)) {
        g.strokeStyle = colour.text;
        g.lineWidth = geo.row < 6 ? .8 : 1.5;
        g.strokeRect(x + .5, y + .5, Math.max(2, width - 1), Math.max(2, geo.row - 1));
      }
    };
    if (view !== "after") track.removed.forEach((n) => one(n, view === "before" ? "plain" : "removed"));
    for (const n of track.notes) {
      if (view === "before" && !n[4]) continue;
      one(n, view === "changes" ? (n[4] ? "kept" : "added") : "plain");
    }
  });
}

// Selection and cursor; ``cursor`` in ticks.
function drawOver(canvas, geo, colour, chosen, cursor) {
  const g = fit(canvas, geo.width, RULER + geo.height);
  for (const bar of chosen) {
    g.fillStyle = colour.accent;
    g.globalAlpha = .2;
    g.fillRect(bar * geo.bar, 0, geo.bar, RULER + geo.height);
    g.globalAlpha = 1;
    if (!chosen.has(bar - 1)) g.fillRect(bar * geo.bar, 0, 2, RULER + geo.height);
    if (!chosen.has(bar + 1)) g.fillRect((bar + 1) * geo.bar - 2, 0, 2, RULER + geo.height);
  }
  const x = Math.min(geo.width - 1, geo.x(cursor));
  g.fillStyle = "#ef4444";
  g.fillRect(x - .75, 0, 1.5, RULER + geo.height);
  g.beginPath();
  g.moveTo(x - 5, 0);
  g.lineTo(x + 5, 0);
  g.lineTo(x, 7);
  g.fill();
}

function drawMini(canvas, notes, ticks, colour) {
  const width = canvas.clientWidth || 100, height = canvas.clientHeight || 30;
  const ratio = window.devicePixelRatio || 1, g = canvas.getContext("2d");
  canvas.width = width * ratio;
  canvas.height = height * ratio;
  g.scale(ratio, ratio);
  const pitches = notes.map((n) => n[1]), low = Math.min(...pitches, 60) - 1, high = Math.max(...pitches, 72) + 1;
  const row = height / (high - low + 1);
  g.fillStyle = colour;
  for (const [onset, pitch, duration] of notes)
    g.fillRect(onset / ticks * width, (high - pitch) * row, Math.max(1.5, duration / ticks * width - .5), Math.max(1.5, row));
}

function drawSwatch(canvas, style, colour) {
  canvas.width = 36;
  canvas.height = 24;
  const g = canvas.getContext("2d");
  g.scale(2, 2);
  if (style === "outside") { g.lineWidth = 1.5; g.strokeStyle = colour; g.strokeRect(1, 1, 16, 10); return; }
  drawNote(g, 0, 0, 18, 12, style, colour, .9);
}
