"""What was asked and what came out -> the table under the roll."""

from demo import texts
from musediff.clip import Clip, Meta
from musediff.metrics.control import Row, asked_vs_got


def rows(asked: Meta, clip: Clip, track: int) -> list[Row]:
    """The fields that were asked for."""
    return [row for row in asked_vs_got(asked, clip, track) if row.asked != texts.ANY]


def fit(asked: Meta, clip: Clip, track: int) -> str:
    """How much of what was asked and can be measured a clip meets: "7 of 8"."""
    judged = [row.ok for row in rows(asked, clip, track) if row.ok is not None]
    return f"{sum(judged)} of {len(judged)}" if judged else ""


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
