"""The house rules of DESIGN section 7, as tests."""

import ast
import io
import re
import sys
import tokenize
from pathlib import Path

import pytest

ROOT = Path(__file__).parents[2]
OPERATOR = ROOT / "operator"
PACKAGE = OPERATOR / "anchorhold"
MODULES = sorted(PACKAGE.rglob("*.py"))

MAX_FILE_LINES = 250
MAX_FUNCTION_LINES = 40
MAX_TRUSTED_LINES = 5_500

# The modules that decide or build. Each takes the world as an argument and returns a value.
# api/schema.py is a developer's tool that writes files; nothing imports it.
PURE = sorted(
    [PACKAGE / "names.py"]
    + [path for path in (PACKAGE / "api").glob("*.py") if path.name != "schema.py"]
    + [*(PACKAGE / "policy").glob("*.py"), *(PACKAGE / "cell").glob("*.py")]
    + [
        PACKAGE / "controller" / f"{name}.py"
        for name in (
            *(
                "plan",
                "stopping",
                "record",
                "status",
                "ending",
                "observed",
                "containers",
                "sentinels",
                "runs",
                "events",
            ),
        )
    ]
    + [
        PACKAGE / "gateway" / f"{name}.py"
        for name in ("addresses", "credentials", "decision", "rules", "usage/budget")
    ]
)
# What they may import from elsewhere; none of it does anything by itself.
HARMLESS = {
    *(
        "base64",
        "binascii",
        "collections",
        "dataclasses",
        "datetime",
        "enum",
        "hashlib",
        "hmac",
        "http",
        "ipaddress",
        "json",
        "re",
        "typing",
    ),
    *("pydantic", "pydantic_core"),
}


def name_of(path: Path) -> str:
    return str(path.relative_to(OPERATOR))


def by_path(paths: list[Path]) -> pytest.MarkDecorator:
    return pytest.mark.parametrize("path", paths, ids=[name_of(path) for path in paths])


def tree(path: Path) -> ast.Module:
    return ast.parse(path.read_text(encoding="utf-8"))


def lines(path: Path) -> int:
    """As `wc -l` counts them."""
    return path.read_text(encoding="utf-8").count("\n")


def imported(path: Path) -> set[str]:
    """Every module that a module imports, anywhere in it, and every name it takes from one."""
    found = set()
    for node in ast.walk(tree(path)):
        if isinstance(node, ast.Import):
            found |= {alias.name for alias in node.names}
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{name_of(path)} has a relative import"
            found |= {f"{node.module}.{alias.name}" for alias in node.names}
    return found


def test_the_folder_operator_is_no_package():
    """With an `__init__.py` it would hide the standard library's `operator` and break Python."""
    assert not (OPERATOR / "__init__.py").exists()
    assert not (OPERATOR / "__main__.py").exists()


def test_nothing_on_the_import_path_is_named_like_the_standard_library():
    """Only top-level names can shadow: inside the package, imports are absolute.

    So `anchorhold.cluster.queue` is no danger, while an `operator/queue.py` would be.
    """
    top_level = {path.stem for path in OPERATOR.iterdir() if not path.name.startswith(("_", "."))}

    assert top_level == {"anchorhold"}
    assert not top_level & sys.stdlib_module_names


def test_there_are_no_tests_below_the_operators_folder():
    """Pytest would replace the standard library's `operator` (notes/style.md, section 2)."""
    assert not [path for path in MODULES if path.name.startswith(("test_", "conftest"))]


@by_path(MODULES)
def test_only_the_policy_makes_grants(path: Path):
    """So that no cell is built without a decision: neither by a call nor by a changed copy."""
    called = {
        getattr(node.func, "attr", None) or getattr(node.func, "id", None)
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call)
    }

    makes = {"Grant", "__new__", "__setattr__"} & called
    assert not makes or path.parent == PACKAGE / "policy"
    assert "dataclasses.replace" not in imported(path)
    assert not {"copy.replace", "copy"} & imported(path)


def test_one_function_makes_grants():
    makers = [
        f"{path.name}:{function.name}"
        for path in MODULES
        for function in ast.walk(tree(path))
        if isinstance(function, ast.FunctionDef)
        for node in ast.walk(function)
        if isinstance(node, ast.Call) and getattr(node.func, "id", "") == "Grant"
    ]

    assert makers == ["evaluate.py:grant"]


@by_path(PURE)
def test_pure_code_imports_nothing_that_acts(path: Path):
    own = {f"anchorhold.{name.removesuffix('.py')}" for name in pure_names()}
    for module in imported(path):
        if module.startswith("anchorhold"):
            assert module in own or module.rpartition(".")[0] in own, module
        else:
            assert module.partition(".")[0] in HARMLESS, module


def pure_names() -> set[str]:
    """The pure modules and their packages, with dots."""
    paths = [path.relative_to(PACKAGE).with_suffix("") for path in PURE]
    return {str(path).replace("/", ".").removesuffix(".__init__") for path in paths}


@by_path(PURE)
def test_pure_code_neither_reads_nor_runs_anything(path: Path):
    called = {
        node.func.id
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Call) and isinstance(node.func, ast.Name)
    }
    clocks = {
        node.attr
        for node in ast.walk(tree(path))
        if isinstance(node, ast.Attribute)
        and node.attr in {"now", "utcnow", "today"}
        # The clock as it was observed is data.
        and not (isinstance(node.value, ast.Name) and node.value.id == "observed")
    }

    assert not {"open", "print", "input", "eval", "exec", "compile", "__import__"} & called
    assert not clocks


@by_path(sorted((PACKAGE / "inside").glob("*.py")))
def test_what_runs_in_a_cell_needs_the_standard_library_alone(path: Path):
    roots = {module.partition(".")[0] for module in imported(path)}

    assert roots <= {"anchorhold", *sys.stdlib_module_names}


@by_path(MODULES)
def test_a_file_is_short_enough_to_be_read_at_once(path: Path):
    assert lines(path) <= MAX_FILE_LINES


@by_path(MODULES)
def test_a_function_fits_on_a_screen(path: Path):
    long_ones = {
        node.name: length
        for node in ast.walk(tree(path))
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
        and (length := (node.end_lineno or 0) - node.lineno + 1) > MAX_FUNCTION_LINES
    }

    assert long_ones == {}


LAYOUT = {
    *(tokenize.COMMENT, tokenize.NL, tokenize.NEWLINE, tokenize.INDENT, tokenize.DEDENT),
    *(tokenize.ENCODING, tokenize.ENDMARKER),
}


def code_lines(text: str) -> int:
    """The lines that are neither blank, nor only a comment, nor a docstring.

    A docstring is any string that stands for itself: of a module, a class, a function or a field.
    """
    docstrings = {
        number
        for node in ast.walk(ast.parse(text))
        if isinstance(node, ast.Expr)
        and isinstance(node.value, ast.Constant)
        and isinstance(node.value.value, str)
        for number in range(node.lineno, (node.end_lineno or 0) + 1)
    }
    code = {
        number
        for token in tokenize.generate_tokens(io.StringIO(text).readline)
        if token.type not in LAYOUT
        for number in range(token.start[0], token.end[0] + 1)
    }
    return len(code - docstrings)


EXAMPLE = '''\
"""A module's docstring.

    it = "goes on"
"""

# A comment.
LIMIT = 1  # A line of code with a comment.
"""A field's docstring."""
TEXT = """
# No comment, but text that the code uses,

blank lines included.
"""


def function() -> str:
    """A function's docstring."""
    return (
        "a string"
    )
'''


def test_a_line_of_code_is_neither_blank_nor_a_comment_nor_a_docstring():
    assert code_lines(EXAMPLE) == 1 + 5 + 1 + 3


def trusted_lines() -> int:
    """What an auditor has to trust: how much code there is to read.

    All of operator/anchorhold but the command line tool and the CRD generator, neither of which
    runs in the cluster.
    """
    untrusted = [PACKAGE / "cli", PACKAGE / "api" / "schema.py"]
    return sum(
        code_lines(path.read_text(encoding="utf-8"))
        for path in MODULES
        if not any(path.is_relative_to(exception) for exception in untrusted)
    )


def test_the_trusted_code_stays_small():
    assert trusted_lines() <= MAX_TRUSTED_LINES


FIGURE = re.compile(r"<!-- trusted-lines -->.*?<!-- /trusted-lines -->", re.DOTALL)


def test_the_readme_shows_how_many_lines_must_be_trusted(pytestconfig: pytest.Config):
    readme = ROOT / "README.md"
    expected = f"<!-- trusted-lines -->{trusted_lines():,}<!-- /trusted-lines -->"
    if pytestconfig.getoption("--update-golden"):
        text = FIGURE.sub(expected, readme.read_text(encoding="utf-8"))
        readme.write_text(text, encoding="utf-8")

    shown = FIGURE.findall(readme.read_text(encoding="utf-8"))

    assert shown == [expected], "README.md must show the figure once: pytest --update-golden"


REQUIREMENTS = sorted((ROOT / "requirements").glob("*.txt"))


def test_there_are_requirements():
    assert {path.name for path in REQUIREMENTS} >= {"runtime.txt", "dev.txt"}


@pytest.mark.parametrize("path", REQUIREMENTS, ids=[path.name for path in REQUIREMENTS])
def test_every_requirement_is_pinned_by_hash(path: Path):
    """And comes from wherever the installer's own configuration says, nowhere else."""
    text = path.read_text(encoding="utf-8")
    joined = text.replace("\\\n", " ").splitlines()
    requirements = [line for line in joined if line.strip() and not line.lstrip().startswith("#")]

    assert requirements
    for requirement in requirements:
        assert re.fullmatch(
            r"[a-z0-9._-]+(\[[a-z0-9,_-]+\])?==\S+( +; [^\\]+?)?( +--hash=sha256:[0-9a-f]{64})+ *",
            requirement,
        ), requirement
    for option in ("--index", "--extra-index", "--find-links", "-i ", "-f ", "://"):
        assert option not in text
