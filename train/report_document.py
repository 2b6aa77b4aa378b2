"""Headings, text, tables, pictures and sounds in a row -> one page of Markdown, or of HTML that needs no network.

Files are named relative to the page.
"""

from collections.abc import Sequence
from dataclasses import dataclass
from html import escape
from urllib.parse import quote

from musediff.metrics.table import markdown


@dataclass(frozen=True, slots=True)
class Heading:
    level: int
    text: str


@dataclass(frozen=True, slots=True)
class Text:
    text: str


@dataclass(frozen=True, slots=True)
class Items:
    texts: Sequence[str]


@dataclass(frozen=True, slots=True)
class Table:
    """Cells are plain text; those that end in ``missed`` stand out. The first column is labels."""

    head: Sequence[str]
    rows: Sequence[Sequence[str]]
    missed: str = "\0"


@dataclass(frozen=True, slots=True)
class Picture:
    file: str
    alt: str


@dataclass(frozen=True, slots=True)
class Clips:
    """What one request became, side by side: title, and (name, piano-roll, sound, MIDI file, words) of each."""

    title: str
    takes: Sequence[tuple[str, str, str, str, str]]


Block = Heading | Text | Items | Table | Picture | Clips

STYLE = """
body { font: 15px/1.5 system-ui, sans-serif; max-width: 1100px; margin: 2rem auto; padding: 0 1rem; color: #1d1d24; background: #fff }
table { border-collapse: collapse; margin: 1rem 0; font-variant-numeric: tabular-nums; display: block; overflow-x: auto }
th, td { border: 1px solid #d5d5de; padding: .25rem .6rem; text-align: right; white-space: nowrap }
th:first-child, td:first-child { text-align: left }
th { background: #f3f3f7 } tr:hover td { background: #f8f8fb } td.missed { background: #ffe9e6 }
img { max-width: 100%; height: auto } audio { width: 100% }
.takes { display: grid; grid-template-columns: repeat(auto-fit, minmax(320px, 1fr)); gap: 1rem } figure { margin: 0 }
"""


def to_markdown(blocks: Sequence[Block]) -> str:
    """One page; ends without a newline."""
    return "\n\n".join(_markdown(block) for block in blocks)


def to_html(blocks: Sequence[Block], title: str) -> str:
    """One page with its style inside."""
    body = "\n".join(_html(block) for block in blocks)
    head = f'<meta charset="utf-8"><meta name="viewport" content="width=device-width"><title>{escape(title)}</title>'
    return f'<!doctype html>\n<html lang="en">\n<head>{head}<style>{STYLE}</style></head>\n<body>\n{body}\n</body>\n</html>\n'


def _markdown(block: Block) -> str:
    if isinstance(block, Heading):
        return f"{'#' * block.level} {block.text}"
    if isinstance(block, Text):
        return block.text
    if isinstance(block, Items):
        return "\n".join(f"- {text}" for text in block.texts)
    if isinstance(block, Table):
        return markdown(block.head, block.rows)
    if isinstance(block, Picture):
        return f"![{block.alt}]({quote(block.file)})"
    lines = [f"**{block.title}**", ""]
    for name, roll, sound, midi, words in block.takes:
        links = f"[sound]({quote(sound)}) · [MIDI]({quote(midi)})" if midi else ""
        lines += [f"{name}: {' · '.join(part for part in (links, words) if part)}", ""]
        lines += [f"![{block.title}, {name}]({quote(roll)})", ""] if roll else []
    return "\n".join(lines[:-1])


def _html(block: Block) -> str:
    if isinstance(block, Heading):
        return f"<h{block.level}>{escape(block.text)}</h{block.level}>"
    if isinstance(block, Text):
        return f"<p>{escape(block.text)}</p>"
    if isinstance(block, Items):
        return "<ul>" + "".join(f"<li>{escape(text)}</li>" for text in block.texts) + "</ul>"
    if isinstance(block, Table):
        return _html_table(block)
    if isinstance(block, Picture):
        return f'<p><img src="{quote(block.file)}" alt="{escape(block.alt)}"></p>'
    return f"<h3>{escape(block.title)}</h3>\n<div class=takes>{''.join(_html_take(block.title, take) for take in block.takes)}</div>"


def _html_table(table: Table) -> str:
    head = "".join(f"<th>{escape(cell)}</th>" for cell in table.head)
    rows = [
        "".join(f"<td{' class=missed' if cell.endswith(table.missed) else ''}>{escape(cell)}</td>" for cell in row)
        for row in table.rows
        if any(row[1:])
    ]
    return f"<table><thead><tr>{head}</tr></thead><tbody>{''.join(f'<tr>{row}</tr>' for row in rows)}</tbody></table>"


def _html_take(title: str, take: tuple[str, str, str, str, str]) -> str:
    name, roll, sound, midi, words = take
    if not midi:
        return f"<figure><figcaption>{escape(name)}: {escape(words)}</figcaption></figure>"
    picture = f'<img src="{quote(roll)}" alt="{escape(title)}, {escape(name)}" loading="lazy">'
    player = f'<audio controls preload="none" src="{quote(sound)}"></audio>'
    return f'<figure><figcaption>{escape(name)}, {escape(words)}, <a href="{quote(midi)}">MIDI</a></figcaption>{picture}{player}</figure>'
