// Wiring: what happens when a value arrives from the server, and the listeners of the roll's own controls.
function arrange(value) {
  const scale = value.key ? value.key.scale : [], tonic = value.key ? value.key.tonic : -1, end = value.bars * value.bar_ticks, chords = [];
  value.chords.forEach(({ tick, name }, i) => {
    const next = i + 1 < value.chords.length ? value.chords[i + 1].tick : end;
    // A chord that lasts is named again in every bar.
    for (let start = tick; name && start < next;) {
      const stop = Math.min(next, (Math.floor(start / value.bar_ticks) + 1) * value.bar_ticks);
      chords.push([start, stop, name]);
      start = stop;
    }
  });
  const tracks = value.tracks.map((t) => ({
    name: (t.name[0].toUpperCase() + t.name.slice(1)).replaceAll("_", " "), removed: t.notes.filter((n) => n[4] === "removed"),
    notes: t.notes.filter((n) => n[4] !== "removed").map((n) => [n[0], n[1], n[2], n[3], n[4] !== "added"]),
  }));
  return { ...value, scale, tonic, chords, tracks };
}

// A sound comes seconds after its clip. It belongs to that clip alone, whatever is on the roll by then, and waits for it if need be.
const heard = new Map();

function late({ soundOf, audio: address, played }) {
  heard.set(soundOf, { audio: address, played, preparing: false });
  if (soundOf !== data.token && soundOf !== data.source) return;
  data = sounding(data);
  tune(true);
  controls();
}

function sounding(value) {
  return { ...value, ...(value.preparing && heard.get(value.token)), audioBefore: value.audioBefore || heard.get(value.source)?.audio };
}

function load() {
  if (props.value && props.value.soundOf) return late(props.value);
  const old = data;
  data = props.value ? sounding(arrange(props.value)) : BLANK;
  if (data.token !== old.token) view = data.compare ? "changes" : "after";
  if (!data.compare) view = "after";
  chosen = new Set([...chosen].filter((bar) => bar < data.bars));
  stage.setAttribute("aria-label", WORDS.label + " " + (data.summary || ""));
  tune(false);
  draw();
  legend();
  variants();
  controls();
  if (data.live && !old.live && window.innerWidth < 800) element.scrollIntoView({ block: "start", behavior: "smooth" });
}

for (const canvas of [$("ruler"), $("notes")]) {
  canvas.addEventListener("pointerdown", down);
  canvas.addEventListener("pointermove", move);
  canvas.addEventListener("pointerup", up);
  canvas.addEventListener("pointercancel", up);
}
stage.addEventListener("keydown", key);
$("play").addEventListener("click", toggle);
$("seek").addEventListener("input", (event) => seek(toTick(+event.target.value)));
$("speed").addEventListener("change", (event) => { audio.playbackRate = audio.defaultPlaybackRate = +event.target.value; });
$("clear").addEventListener("click", () => choose(null));
for (const button of $("views").children) button.addEventListener("click", () => {
  view = button.value;
  tune(true);
  draw();
  legend();
  controls();
});
audio.addEventListener("play", () => { if (!frame) tick(); });
for (const name of ["pause", "ended", "seeked", "loadedmetadata"]) audio.addEventListener(name, () => { over(); time(); });
element.addEventListener("musediff-bars", (event) => fromText(event.detail));
new ResizeObserver(() => { if (scroller.clientWidth !== drawnWidth) { draw(); variants(); } }).observe(scroller);
new MutationObserver(() => { colour = theme(element); draw(); legend(); variants(); }).observe(document.body, { attributeFilter: ["class"] });
watch("value", load);
load();
