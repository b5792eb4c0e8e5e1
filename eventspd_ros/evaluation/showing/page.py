"""The pieces of a page of HTML that stands alone: its frame, a figure with a caption, a table."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from html import escape

from eventspd_ros.evaluation.showing.model_tables import Table

FRAME = """<!doctype html>
<html lang="en"><head><meta charset="utf-8"><meta name="viewport" content="width=device-width, initial-scale=1">
<title>{title}</title><style>
body {{ font: 15px/1.5 system-ui, sans-serif; color: #1d2329; margin: 2rem auto; max-width: 1120px;
  padding: 0 1.2rem; }}
h1 {{ font-size: 1.6rem; margin: 0 0 .3rem; }} h2 {{ font-size: 1.2rem; margin: 2.4rem 0 .5rem; }}
h3 {{ font-size: 1rem; margin: 1.3rem 0 .3rem; }} p {{ max-width: 52rem; margin: .4rem 0; }}
figure {{ margin: .8rem 0; }} img {{ max-width: 100%; height: auto; }}
figcaption {{ color: #56606a; font-size: .87rem; }}
.table {{ overflow-x: auto; }}
table {{ border-collapse: collapse; font-size: .87rem; margin: .5rem 0 .2rem; font-variant-numeric: tabular-nums; }}
th, td {{ padding: .22rem .65rem; text-align: right; white-space: nowrap; border-bottom: 1px solid #e6e9ec; }}
th {{ border-bottom: 1px solid #8b96a0; font-weight: 600; }}
td.text, th.text {{ text-align: left; }} tr.own td {{ background: #eef4fb; font-weight: 600; }}
.note {{ color: #56606a; }}
</style></head><body>
{body}
</body></html>
"""


def figure(source: str, caption: str) -> str:
    """source: of an <img>, a data: URI where the page shall stand alone."""
    return f'<figure><img src="{source}" alt="{escape(caption)}"><figcaption>{escape(caption)}</figcaption></figure>'


def table(head: Sequence[str], rows: Iterable[Sequence[str]], texts: int = 1, own: set[int] = frozenset()) -> str:
    """head, rows: escaped here. texts: so many columns from the left are text. own: rows that stand out."""

    def cells(tag: str, line: Sequence[str]) -> str:
        return "".join(
            f"<{tag}{' class=text' if column < texts else ''}>{escape(entry)}</{tag}>"
            for column, entry in enumerate(line)
        )

    lines = [f"<tr>{cells('th', head)}</tr>"] if head else []
    lines += [f"<tr{' class=own' if index in own else ''}>{cells('td', row)}</tr>" for index, row in enumerate(rows)]
    return f"<div class=table><table>{''.join(lines)}</table></div>"


def titled(content: Table) -> str:
    """A table under its title."""
    return f"<h3>{escape(content.title.capitalize())}</h3>\n" + table(content.head, content.rows, texts=content.texts)
