"""Tables as text, and numbers in them: what every view of figures draws with."""

from __future__ import annotations

Table = tuple[list[str], list[list[str]]]  # header, rows


def markdown_table(header: list[str], rows: list[list[str]]) -> str:
    r"""A Markdown table, the first column to the left and the others to the right.

    Example:
        >>> print(markdown_table(["step", "bytes"], [["a|b", "10"]]))
        | step | bytes |
        | :--- | ---: |
        | a\|b | 10 |
    """
    rule = [":---"] + ["---:"] * (len(header) - 1)
    lines = [list(map(markdown_cell, header)), rule]
    lines += [list(map(markdown_cell, row)) for row in rows]
    return "\n".join("| " + " | ".join(cells) + " |" for cells in lines)


def markdown_cell(text: str) -> str:
    r"""Text that ends no cell, no line, and starts no HTML tag, link or image.

    Example:
        >>> print(markdown_cell("a|b <script> ![c](http://d)"))
        a\|b &lt;script> ![c]\(http://d)
    """
    safe = text.replace("|", "\\|").replace("<", "&lt;").replace("](", "]\\(")
    return " ".join(safe.splitlines())


def text_table(header: list[str], rows: list[list[str]]) -> str:
    """A table in plain text, columns aligned, two spaces between.

    Example:
        >>> print(text_table(["step", "bytes"], [["baseline", "10"]]))
        step      bytes
        baseline     10
    """
    widths = [max(len(cell) for cell in column) for column in zip(header, *rows, strict=True)]
    return "\n".join(
        "  ".join(
            cell.ljust(width) if index == 0 else cell.rjust(width)
            for index, (cell, width) in enumerate(zip(row, widths, strict=True))
        ).rstrip()
        for row in [header, *rows]
    )


def metric(value: float) -> str:
    """A metric's value: four decimals, or three digits if those would all be zeros.

    Example:
        >>> metric(0.98765), metric(0.0000123)
        ('0.9877', '1.23e-05')
    """
    return f"{value:.4f}" if value == 0 or abs(value) >= 0.001 else f"{value:.3g}"


def signed(value: float) -> str:
    """A change of a metric, with its sign.

    Example:
        >>> signed(-0.02), signed(0.0000123)
        ('-0.0200', '+1.23e-05')
    """
    return f"{value:+.4f}" if value == 0 or abs(value) >= 0.0001 else f"{value:+.3g}"
