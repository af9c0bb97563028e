"""No text can break the code it is put into."""

import ast
import subprocess

import pytest
import tree_sitter
import tree_sitter_cpp
import tree_sitter_dart_orchard
import tree_sitter_kotlin
import tree_sitter_swift
from hypothesis import given, settings
from hypothesis import strategies as st

from tfopt.shipping import literals

# What a literal stands in, and a kind of node that must be there only once.
CODE = {
    "kotlin": (tree_sitter_kotlin, "val a = {}\nval b = 1\n", "string_literal"),
    "swift": (tree_sitter_swift, "let a = {}\nlet b = 1\n", "line_string_literal"),
    "dart": (tree_sitter_dart_orchard, "var a = {};\nvar b = 1;\n", "string_literal"),
    "cpp": (tree_sitter_cpp, "const char* a = {};\nint b = 1;\n", "string_literal"),
}
TEXTS = st.text(st.characters(exclude_categories=("Cs",)) | st.sampled_from("\"'\\$({?/*\n\r"))


def nodes(node):
    yield node
    for child in node.children:
        yield from nodes(child)


@pytest.mark.parametrize("language", CODE)
@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_a_literal_is_one_string_and_nothing_else(language, text):
    grammar, code, kind = CODE[language]
    source = code.format(literals.LITERALS[language](text)).encode()
    tree = tree_sitter.Parser(tree_sitter.Language(grammar.language())).parse(source)
    assert not tree.root_node.has_error, source
    assert sum(node.type == kind for node in nodes(tree.root_node)) == 1, source
    assert not any("interpol" in node.type for node in nodes(tree.root_node)), source


@settings(max_examples=60, deadline=None)
@given(text=st.text())
def test_python_reads_back_what_was_written(text):
    assert ast.literal_eval(literals.python(text)) == text


def test_a_compiler_reads_back_what_was_written(tmp_path):
    text = 'quote " \\ ??/ é \U0001f600 \x01 7 \n end'
    source = tmp_path / "text.cc"
    code = f"#include <cstdio>\nint main() {{ std::fputs({literals.cpp(text)}, stdout); }}\n"
    source.write_text(code, encoding="ascii")
    subprocess.run(["g++", "-std=c++17", source, "-o", tmp_path / "text"], check=True)
    told = subprocess.run([tmp_path / "text"], capture_output=True, check=True).stdout
    assert told.decode() == text


@settings(max_examples=60, deadline=None)
@given(text=TEXTS)
def test_markdown_stays_on_its_line_and_is_no_tag(text):
    escaped = literals.markdown(text)
    assert len(escaped.splitlines()) <= 1
    assert "<" not in escaped.replace("\\<", "")
