"""What was asked and what came out -> the table under the roll."""

from collections import Counter
from collections.abc import Iterable

from demo import texts
from demo.session import Shown
from musediff.clip import Clip, Meta
from musediff.metrics.control import Row, asked_vs_got
from musediff.render.pianoroll import ADDED, REMOVED, track_changes

BARS_WITH_COUNTS = 8  # more bars than these are named without saying how many notes of each


def rows(asked: Meta, clip: Clip, track: int) -> list[Row]:
    """The fields that were asked for."""
    return [row for row in asked_vs_got(asked, clip, track) if row.asked != texts.ANY]


def fit(shown: Shown, index: int) -> str:
    """How much of what was asked and can be measured a variant meets: "7 of 8"; of a repair, how much it changed."""
    clip = shown.result.clips[index]
    if shown.operation == "repair" and shown.before is not None:
        return texts.REPAIRED_SHORT.format(n=sum(changes(clip, shown.before)[0].values()))
    judged = [row.ok for row in rows(shown.asked, clip, shown.track) if row.ok is not None]
    return f"{sum(judged)} of {len(judged)}" if judged else ""


def changes(clip: Clip, before: Clip) -> tuple[Counter[int], Counter[int]]:
    """Bar (from 0) -> notes that are gone, and notes that are new. A note that changed is both."""
    gone, new = Counter[int](), Counter[int]()
    for _, notes in track_changes(clip, before):
        for note, status in notes:
            if status in (ADDED, REMOVED):
                (gone if status == REMOVED else new)[note.onset_ticks // clip.bar_ticks] += 1
    return gone, new


def found(shown: Shown) -> tuple[str, tuple[str, ...]]:
    """How many notes of the source changed and in which bars, in a sentence, and what else the pipeline has to say.

    The pipeline counts too, without the bars and as the last thing that it says: this replaces it.
    """
    notes = shown.result.notes
    if shown.before is None or not notes:
        return "", notes
    gone, new = changes(shown.clip, shown.before)
    if not gone and not new:
        return texts.NOT_REPAIRED if shown.operation == "repair" else notes[-1], notes[:-1]
    touched, total = gone | new, len(shown.before.tracks[shown.track].notes)
    where = bars_text(touched)
    if shown.operation == "repair" and len(touched) <= BARS_WITH_COUNTS:
        where = ", ".join(texts.BAR_WITH_COUNT.format(bar=bar + 1, n=touched[bar]) for bar in sorted(touched))
    words = texts.ONLY_NEW if not gone else texts.REPAIRED if shown.operation == "repair" else texts.MODIFIED
    return words.format(n=sum((gone or new).values()), total=total, where=where), notes[:-1]


def bars_text(bars: Iterable[int]) -> str:
    """{2, 3, 6} -> "bars 3-4, 7"."""
    runs: list[list[int]] = []
    for bar in sorted(bars):
        if runs and runs[-1][1] == bar - 1:
            runs[-1][1] = bar
        else:
            runs.append([bar, bar])
    many = len(runs) > 1 or runs[0][0] != runs[0][1]
    return f"{texts.BARS_WORD[many]} " + ", ".join(f"{a + 1}-{b + 1}" if a != b else str(a + 1) for a, b in runs)


def table(asked: Meta, clip: Clip, track: int, notes: tuple[str, ...]) -> str:
    """HTML of the report and of what the pipeline has to say."""
    said = "".join(f"<li>{texts.escape(note)}</li>" for note in notes)
    said = f'<ul class="notes">{said}</ul>' if said else ""
    cells = "".join(_cell(row) for row in rows(asked, clip, track))
    return f'<div class="report"><h3>{texts.REPORT_TITLE}</h3><dl>{cells}</dl>{said}</div>' if cells else said


def _cell(row: Row) -> str:
    verdict, kind = {True: (texts.MET, "met"), False: (texts.MISSED, "missed"), None: (texts.LABEL, "label")}[row.ok]
    asked, got = (texts.value(row.field, text) for text in (row.asked, row.got))
    small = "" if got.startswith(asked) or row.field == "chord_progression" else f"<small>{texts.ASKED} {texts.escape(asked)}</small>"
    label = texts.FIELDS[row.field][0]
    return f'<div class="{kind}"><dt>{label} <b>{verdict}</b></dt><dd>{texts.escape(got)}{small}</dd></div>'
