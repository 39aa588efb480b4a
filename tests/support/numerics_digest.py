"""Digest of the code that decides pixel values; see `calbatch.calibrate.numerics`.

``python tests/support/numerics_digest.py`` renews the stored digest. Before that, raise
``NUMERICS_VERSION`` if values change.
"""

import ast
import hashlib
import sys
from pathlib import Path

ROOT = Path(__file__).parents[2]
STORED = ROOT / "tests" / "calibrate" / "numerics.digest"

DECIDING = (
    "calibrate/pipelines/*.py",
    "calibrate/steps/**/*.py",
    "calibrate/frames/*.py",
    "models/arrays.py",
    "models/casting.py",
    "models/conversion.py",
    "models/dq.py",
    "models/fits/byteorder.py",
    "models/fits/columns.py",
    "models/fits/readers.py",
    "models/fits/tables.py",
    "models/jit.py",
    "models/mapping.py",
    "models/row_selection.py",
    "models/tiling/halos.py",
    "models/tiling/patches.py",
    "models/tiling/plan.py",
    "models/tiling/reductions.py",
    "models/tiling/row_readers.py",
    "models/tiling/tile.py",
    "models/tiling/tile_edges.py",
)
"""Modules whose code decides pixel values. Update the patterns when a module is moved."""

_REPORTING = {"critical", "debug", "error", "exception", "info", "warn", "warning"}


class _Essence(ast.NodeTransformer):
    """Removes docstrings, imports and the texts of messages."""

    def visit_Expr(self, node: ast.Expr) -> ast.AST | None:
        """Remove docstrings, also those of attributes."""
        return None if _is_text(node.value) else self.generic_visit(node)

    def visit_Import(self, node: ast.Import) -> None:
        """Remove imports, which name the paths of modules."""

    def visit_ImportFrom(self, node: ast.ImportFrom) -> None:
        """Remove imports, which name the paths of modules."""

    def visit_Raise(self, node: ast.Raise) -> ast.AST:
        """Remove the texts of error messages."""
        return _Texts().visit(node)

    def visit_Call(self, node: ast.Call) -> ast.AST:
        """Remove the texts of log messages and warnings."""
        if isinstance(node.func, ast.Attribute) and node.func.attr in _REPORTING:
            return _Texts().visit(node)
        return self.generic_visit(node)


class _Texts(ast.NodeTransformer):
    def visit_Constant(self, node: ast.Constant) -> ast.AST:
        return ast.Constant("") if isinstance(node.value, str) else node


def _is_text(node: ast.AST) -> bool:
    return isinstance(node, ast.Constant) and isinstance(node.value, str)


def _dump(node: object) -> str:
    """Return an AST as text that is the same under all supported versions of Python."""
    if isinstance(node, ast.AST):
        fields = [
            f"{name}={_dump(value)}"
            for name, value in ast.iter_fields(node)
            if value not in (None, []) and name != "kind"
        ]
        return f"{type(node).__name__}({', '.join(fields)})"
    if isinstance(node, list):
        return f"[{', '.join(map(_dump, node))}]"
    return repr(node)


def code_digest(source: str) -> str:
    """Return a digest of code, without its comments, docstrings, imports and messages."""
    tree = _Essence().visit(ast.parse(source))
    return hashlib.sha256(_dump(tree).encode()).hexdigest()


def deciding_modules() -> list[Path]:
    """Return the modules whose code decides pixel values."""
    found = []
    for pattern in DECIDING:
        paths = sorted(ROOT.glob(pattern))
        assert paths, f"{pattern}: no such module; update DECIDING in {__file__}"
        found += paths
    return found


def numerics_digest() -> str:
    """Return one digest of all deciding modules, wherever they are."""
    digests = sorted(code_digest(path.read_text("utf-8")) for path in deciding_modules())
    return hashlib.sha256("".join(digests).encode()).hexdigest()


def stored_line() -> str:
    """Return the line that is stored: the version and the digest of the present code."""
    from calbatch.calibrate.numerics import NUMERICS_VERSION

    return f"{NUMERICS_VERSION} {numerics_digest()}\n"


if __name__ == "__main__":
    STORED.write_text(stored_line(), "ascii")
    sys.stdout.write(f"{STORED}: renewed. If pixel values change, raise NUMERICS_VERSION first.\n")
