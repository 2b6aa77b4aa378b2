// The player-roll: one <audio> element drives sound, cursor and seek. `element`, `props`, `trigger` and `watch` come from Gradio.
const $ = (name) => element.querySelector("." + name);
const stage = $("stage"), scroller = $("scroller"), sheet = $("sheet"), audio = element.querySelector("audio");
const say = (words, values = {}) => words.replace(/\{(\w+)\}/g, (_, name) => values[name]);
const BLANK = { bars: 8, bar_ticks: 1920, beat_ticks: 480, bpm: 120, scale: [], tonic: -1, chords: [], tracks: [], summary: "" };

let data = BLANK, geo = null, colour = theme(element), view = "after";
let chosen = new Set(), anchor = null, drag = null, frame = 0, drawnWidth = 0;

const seconds = () => data.bars * data.bar_ticks / 480 * 60 / data.bpm;
const toTick = (time) => time * data.bpm / 60 * 480;
const toTime = (tick) => tick / 480 * 60 / data.bpm;
const clock = (time) => Math.floor(time / 60) + ":" + String(Math.floor(time % 60)).padStart(2, "0");
const sound = () => (view === "before" && data.audioBefore) || data.audio || "";

// ---- drawing -------------------------------------------------------------------------------------------------

function draw() {
  const phone = window.innerWidth < 640, height = phone ? 230 : 300;
  drawnWidth = scroller.clientWidth;
  if (!drawnWidth) return;
  const least = Math.max(phone ? 36 : 44, phone && data.bars <= 8 ? 0 : crowd() * 30);
  const width = Math.max(drawnWidth, Math.min(16000, data.bars * least));
  sheet.style.width = width + "px";
  geo = geometry(data, width, height);
  drawKeys($("keys"), geo, colour);
  drawRuler($("ruler"), data, geo, colour);
  drawNotes($("notes"), data, geo, colour, view);
  over();
}

// The most chords in one bar: their names need room.
function crowd() {
  const counts = new Map();
  for (const [start] of data.chords) {
    const bar = Math.floor(start / data.bar_ticks);
    counts.set(bar, (counts.get(bar) || 0) + 1);
  }
  return Math.max(1, ...counts.values());
}

function over() {
  if (geo) drawOver($("over"), geo, colour, chosen, toTick(audio.currentTime || 0));
}

function legend() {
  const box = $("legend");
  box.replaceChildren();
  const add = (style, paint, words) => {
    const item = document.createElement("span"), swatch = document.createElement("canvas");
    drawSwatch(swatch, style, paint);
    item.append(swatch, words);
    box.append(item);
  };
  const count = (test) => data.tracks.reduce((sum, t) => sum + t.notes.filter(test).length, 0);
  if (view === "changes") {
    add("kept", KEPT, count((n) => n[4]) + " " + WORDS.kept);
    add("added", ADDED, count((n) => !n[4]) + " " + WORDS.added);
    add("removed", null, data.tracks.reduce((sum, t) => sum + t.removed.length, 0) + " " + WORDS.removed);
  } else {
    data.tracks.forEach((t, i) => add("plain", TRACK_COLOURS[i % TRACK_COLOURS.length],
      t.name + ": " + say(WORDS.notes, { n: view === "before" ? t.removed.length + t.notes.filter((n) => n[4]).length : t.notes.length })));
  }
  const strange = view === "after" && data.scale.length ? count((n) => !data.scale.includes(n[1] % 12)) : 0;
  if (strange) add("outside", colour.text, strange + " " + WORDS.outside);
}

function variants() {
  const box = $("variants"), list = data.variants || [];
  box.hidden = list.length < 2;
  while (box.children.length > list.length) box.lastChild.remove();
  while (box.children.length < list.length) {
    const button = document.createElement("button"), index = box.children.length;
    button.type = "button";
    button.innerHTML = "<canvas></canvas><div><span></span><small></small></div>";
    button.addEventListener("click", () => trigger("pick", { index }));
    box.append(button);
  }
  list.forEach((item, i) => {
    const button = box.children[i];
    button.setAttribute("aria-pressed", i === data.index);
    button.querySelector("span").textContent = say(WORDS.variant, { n: i + 1 });
    button.querySelector("small").textContent = item.fit || "";
    button.disabled = Boolean(data.live);
    drawMini(button.querySelector("canvas"), item.notes, data.bars * data.bar_ticks, colour.accent);
  });
}

function controls() {
  const filled = data !== BLANK;
  $("empty").hidden = filled;
  $("play").disabled = !sound();
  $("seek").disabled = !sound();
  $("views").hidden = !data.compare;
  for (const button of $("views").children) button.setAttribute("aria-pressed", button.value === view);
  $("live").hidden = !data.live && !data.preparing;
  const [step, steps] = data.live || [0, 0], bar = $("live").querySelector("progress");
  $("live").querySelector("span").textContent = step < steps ? say(WORDS.working, { step, steps }) : WORDS.preparing;
  bar.hidden = !steps;
  if (steps) {
    bar.max = steps;
    bar.value = step;
  }
  $("summary").textContent = data.summary || "";
  $("played").textContent = data.played || "";
  $("chosen").hidden = !chosen.size;
  $("chosen").querySelector("span").textContent = say(WORDS.selected, { bars: barsText() });
  time();
}

function time() {
  const now = audio.currentTime || 0, length = data === BLANK ? 0 : seconds();
  $("time").textContent = clock(Math.min(now, length)) + " / " + clock(length);
  $("seek").max = length || 1;
  $("seek").value = now;
  $("play").textContent = audio.paused ? WORDS.play : WORDS.pause;
}

// ---- sound ---------------------------------------------------------------------------------------------------

function tune(keep) {
  const url = sound(), absolute = url && new URL(url, document.baseURI).href;
  if (audio.src === absolute || (!url && !audio.getAttribute("src"))) return;
  const at = keep ? audio.currentTime : 0, playing = keep && !audio.paused, speed = audio.playbackRate;
  audio.pause();
  if (!url) { audio.removeAttribute("src"); audio.load(); return; }
  audio.src = url;
  audio.playbackRate = audio.defaultPlaybackRate = speed;
  if (at) audio.currentTime = at;
  if (playing) audio.play();
}

function seek(tick) {
  if (!sound()) return;
  audio.currentTime = Math.max(0, Math.min(toTime(tick), seconds() - .01));
  over();
  time();
}

function toggle() {
  if (!sound()) return;
  if (!audio.paused) return audio.pause();
  const [first, last] = span();
  if ($("loop").checked && first !== null && (toTick(audio.currentTime) < first || toTick(audio.currentTime) >= last)) seek(first);
  else if (audio.ended || audio.currentTime >= seconds() - .02) audio.currentTime = 0;
  audio.play();
}

function span() {
  if (!chosen.size) return [null, null];
  return [Math.min(...chosen) * data.bar_ticks, (Math.max(...chosen) + 1) * data.bar_ticks];
}

function tick() {
  frame = audio.paused ? 0 : requestAnimationFrame(tick);
  const now = toTick(audio.currentTime), [first, last] = span();
  if ($("loop").checked && !audio.paused && now >= (last ?? data.bars * data.bar_ticks)) seek(first ?? 0);
  const x = geo ? geo.x(now) : 0;
  if (frame && geo && (x < scroller.scrollLeft || x > scroller.scrollLeft + drawnWidth - 20)) scroller.scrollLeft = x - 40;
  over();
  time();
}

// ---- selecting bars ------------------------------------------------------------------------------------------

function barsText() {
  const runs = [];
  for (const bar of [...chosen].sort((a, b) => a - b)) {
    if (runs.length && runs.at(-1)[1] === bar - 1) runs.at(-1)[1] = bar;
    else runs.push([bar, bar]);
  }
  return runs.map(([a, b]) => a === b ? a + 1 : `${a + 1}-${b + 1}`).join(", ");
}

function choose(first, last, tell = true) {
  chosen = new Set();
  if (first !== null) for (let bar = Math.min(first, last); bar <= Math.max(first, last); bar++) chosen.add(bar);
  if (first === null) anchor = null;
  over();
  controls();
  if (tell) trigger("region", { text: barsText() });
}

function fromText(text) {
  chosen = new Set();
  for (const [, a, b] of text.matchAll(/(\d+)(?:\s*[-–]\s*(\d+))?/g))
    for (let bar = +a; bar <= Math.min(+(b || a), data.bars); bar++) if (bar >= 1) chosen.add(bar - 1);
  over();
  controls();
}

const barAt = (event) => {
  const x = event.clientX - sheet.getBoundingClientRect().left;
  return Math.max(0, Math.min(data.bars - 1, Math.floor(x / geo.bar)));
};

function down(event) {
  if (data === BLANK || !geo || event.button) return;
  stage.focus({ preventScroll: true });
  drag = { x: event.clientX, from: barAt(event), moved: false, select: event.pointerType !== "touch" || event.currentTarget === $("ruler") };
  if (event.shiftKey && anchor !== null) { choose(anchor, barAt(event)); drag = null; return; }
  if (drag.select) event.currentTarget.setPointerCapture(event.pointerId);
}

function move(event) {
  if (!drag || !drag.select) return;
  if (Math.abs(event.clientX - drag.x) > 4) drag.moved = true;
  if (!drag.moved) return;
  anchor = drag.from;
  choose(drag.from, barAt(event), false);
}

function up(event) {
  if (!drag) return;
  const done = drag;
  drag = null;
  if (done.moved) { trigger("region", { text: barsText() }); return; }
  if (event.type === "pointerup") seek(geo.tick(event.clientX - sheet.getBoundingClientRect().left));
}

function key(event) {
  if (data === BLANK || event.target !== stage) return;
  const bar = Math.min(data.bars - 1, Math.floor((toTick(audio.currentTime) + 1) / data.bar_ticks));
  const step = { ArrowLeft: -1, ArrowRight: 1 }[event.key];
  if (event.key === " ") toggle();
  else if (event.key === "Home") seek(0);
  else if (event.key === "End") seek((data.bars - 1) * data.bar_ticks);
  else if (event.key === "Escape") choose(null);
  else if (step && event.shiftKey) {
    if (anchor === null || !chosen.size) { anchor = bar; choose(bar, bar); }
    else {
      const edge = Math.max(...chosen) === anchor ? Math.min(...chosen) : Math.max(...chosen);
      choose(anchor, Math.max(0, Math.min(data.bars - 1, edge + step)));
    }
  } else if (step) seek(Math.max(0, (bar + step)) * data.bar_ticks);
  else return;
  event.preventDefault();
}
