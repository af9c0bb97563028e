"""Text as literals of the languages that are shipped: no name can break the code around it."""

from __future__ import annotations

from collections.abc import Callable, Mapping


def kotlin(text: str) -> str:
    r"""Returns a Kotlin string literal.

    Example:
        >>> print(kotlin('a "$b"\n'))
        "a \"\$b\"\u000a"
    """
    return _quoted(text, '"', '"\\$', _utf16)


def swift(text: str) -> str:
    r"""Returns a Swift string literal.

    Example:
        >>> print(swift('a "\\(b)"\n'))
        "a \"\\(b)\"\u{a}"
    """
    return _quoted(text, '"', '"\\', _braced)


def dart(text: str) -> str:
    r"""Returns a Dart string literal.

    Example:
        >>> print(dart("it's $b\n"))
        'it\'s \$b\u{a}'
    """
    return _quoted(text, "'", "'\\$", _braced)


def cpp(text: str) -> str:
    r"""Returns a C++ string literal in UTF-8, of ASCII characters only.

    Octal escapes end after three digits, where hexadecimal ones go on; `?` would begin a trigraph.

    Example:
        >>> print(cpp('a "?é'))
        "a \"\?\303\251"
    """
    return _quoted(text, '"', '"\\?', _octal, ascii_only=True)


def python(text: str) -> str:
    r"""Returns a Python string literal.

    Example:
        >>> print(python('a "b"\n'))
        "a \"b\"\U0000000a"
    """
    return _quoted(text, '"', '"\\', _wide)


def markdown(text: str) -> str:
    r"""Returns text for a Markdown page: nothing in it marks up, begins a tag or ends the line.

    Example:
        >>> print(markdown("<b>*x*"))
        \<b\>\*x\*
    """
    special = "\\`*_{}[]<>()#+-.!|&~"
    return "".join(
        f"\\{character}" if character in special else character if character.isprintable() else " "
        for character in text
    )


LITERALS: Mapping[str, Callable[[str], str]] = {
    "kotlin": kotlin,
    "swift": swift,
    "dart": dart,
    "cpp": cpp,
    "python": python,
    "markdown": markdown,
}


def _quoted(
    text: str,
    quote: str,
    special: str,
    escape: Callable[[str], str],
    *,
    ascii_only: bool = False,
) -> str:
    """Escapes what has a meaning, what is not printable, and perhaps all but ASCII."""

    def escaped(character: str) -> str:
        if character in special:
            return f"\\{character}"
        plain = character.isprintable() and (character.isascii() or not ascii_only)
        return character if plain else escape(character)

    return quote + "".join(map(escaped, text)) + quote


def _utf16(character: str) -> str:
    units = character.encode("utf-16-be", "surrogatepass")
    pairs = [units[place : place + 2].hex() for place in range(0, len(units), 2)]
    return "".join(f"\\u{pair}" for pair in pairs)


def _braced(character: str) -> str:
    return f"\\u{{{ord(character):x}}}"


def _wide(character: str) -> str:
    return f"\\U{ord(character):08x}"


def _octal(character: str) -> str:
    return "".join(f"\\{byte:03o}" for byte in character.encode("utf-8", "replace"))
