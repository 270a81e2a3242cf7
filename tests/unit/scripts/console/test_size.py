"""The console and the control API stay small, as does what browsers load of them.

Lines are those of code: blank ones, comments and docstrings are not among them.
"""

import ast
import gzip
import io
import tokenize
from pathlib import Path

import pytest

SCRIPTS = Path(__file__).parents[4] / "scripts"
CONSOLE = (SCRIPTS / "console",)
WITH_CONTROL = (*CONSOLE, SCRIPTS / "control", SCRIPTS / "services" / "imports")
_NO_CODE = {
    tokenize.COMMENT,
    tokenize.NL,
    tokenize.NEWLINE,
    tokenize.INDENT,
    tokenize.DEDENT,
    tokenize.ENDMARKER,
}


def _of_python(text: str) -> int:
    documented = {
        number
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr) and isinstance(node.value, ast.Constant)
        for number in range(node.lineno, (node.end_lineno or node.lineno) + 1)
    }
    written = {
        number
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in _NO_CODE
        for number in range(token.start[0], token.end[0] + 1)
    }
    return len(written - documented)


def _of_template(text: str) -> int:
    return sum(bool(line.strip()) for line in text.splitlines())


def test_lines_of_code_are_counted_without_blank_ones_comments_and_docstrings() -> None:
    text = '"""What it does."""\n\n# Why.\nONE = (\n    1,\n)\n\n\ndef f() -> None:\n    """Says."""\n    return  # here\n'

    assert 5 == _of_python(text)
    assert 2 == _of_template("<p>\n\n</p>\n")


@pytest.mark.parametrize(("folders", "most"), [(CONSOLE, 4500), (WITH_CONTROL, 6000)])
def test_python_and_templates_keep_to_so_many_lines(
    folders: tuple[Path, ...], most: int
) -> None:
    python = [path for folder in folders for path in folder.rglob("*.py")]
    templates = [path for folder in folders for path in folder.rglob("*.html")]

    lines = sum(_of_python(path.read_text()) for path in python)
    lines += sum(_of_template(path.read_text()) for path in templates)

    assert python
    assert templates
    assert lines <= most


def test_what_browsers_load_takes_few_bytes() -> None:
    files = [*(SCRIPTS / "console" / "static").iterdir()]

    assert files
    assert sum(len(gzip.compress(path.read_bytes())) for path in files) <= 45_000
