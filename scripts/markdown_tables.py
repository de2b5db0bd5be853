"""Tables in Markdown, and the places that hold them in a document."""


def markdown_table(rows):
    """The first row is the header; the first column is aligned to the left, the others to the right."""
    widths = [max(len(row[column]) for row in rows) for column in range(len(rows[0]))]

    def line(cells):
        padded = [cell.ljust(width) if column == 0 else cell.rjust(width) for column, (cell, width) in enumerate(zip(cells, widths))]
        return "| " + " | ".join(padded) + " |"

    rule = "|" + "|".join("-" * (width + 2) if column == 0 else "-" * (width + 1) + ":" for column, width in enumerate(widths)) + "|"
    return "\n".join([line(rows[0]), rule, *map(line, rows[1:])])


def number(value):
    """Three digits, and all digits before the point."""
    return f"{value:.0f}" if value >= 100 else f"{value:.3g}"


def replace_between(text, name, content):
    """`text` with what stands between its lines `<!-- name:begin -->` and `<!-- name:end -->` replaced. ValueError without them."""
    begin, end = f"<!-- {name}:begin -->\n", f"<!-- {name}:end -->"
    head, opened, rest = text.partition(begin)
    _, closed, tail = rest.partition(end)
    if not opened or not closed:
        raise ValueError(f"has no lines {begin.strip()} and {end}")
    return head + begin + content.strip("\n") + "\n" + closed + tail


def fill(path, tables, optional=()):
    """Replaces the tables of a Markdown file, by name. ValueError where it has no place for one, unless that is among the optional."""
    text = path.read_text(encoding="utf-8")
    try:
        for name, table in tables.items():
            if name not in optional or f"<!-- {name}:begin -->" in text:
                text = replace_between(text, name, table)
    except ValueError as error:
        raise ValueError(f"{path}: {error}") from None
    path.write_text(text, encoding="utf-8")
