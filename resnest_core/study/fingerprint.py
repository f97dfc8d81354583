"""What the result of a notebook depends on: its code and that of every module of the core that it imports.

The graph of imports is read from the sources, so that nothing is run, and digests ignore comments and docstrings.
"""

import ast
import hashlib
import re
from collections.abc import Iterable, Iterator
from functools import cached_property
from pathlib import Path

from resnest_core.errors import InputError

PACKAGE = "resnest_core"
# A module, and whether names are taken from it: of a package that is only passed through, lazy imports do not count.
Reference = tuple[str, bool]


class Code:
    """The package below the directory `root`; each module is read once."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self._modules: dict[str, Module | None] = {}

    def digests(self, sources: Iterable[str]) -> dict[str, str]:
        """SHA-256 of each file of the package that a notebook of these cells depends on, by its path in the package."""
        tree = parse("\n".join(sources), "a notebook's code")
        references = _references(self, tree, _walk(tree, deep=True))
        modules = {name for name, _ in self._reached(references)}
        files = [file for name in modules if (module := self.module(name)) for file in module.digests.items()]
        return dict(sorted(files))

    def module(self, name: str) -> "Module | None":
        """The module of that dotted name, or None if it is not one of the package's."""
        if name not in self._modules:
            self._modules[name] = self._find(name)
        return self._modules[name]

    def resolve(self, dotted: str) -> Reference | None:
        """The module at the beginning of a `dotted` name, and whether more than modules is named."""
        parts = dotted.split(".")
        for length in range(len(parts), 0, -1):
            if self.module(name := ".".join(parts[:length])):
                return name, length < len(parts)
        return None

    def _find(self, name: str) -> "Module | None":
        if not re.fullmatch(rf"{PACKAGE}(\.\w+)*", name):
            return None
        place = self.root / name.replace(".", "/")
        files = (place / "__init__.py", place.with_name(f"{place.name}.py"))
        return next((Module(self, name, file) for file in files if file.is_file()), None)

    def _reached(self, references: Iterable[Reference]) -> set[Reference]:
        waiting, seen = list(references), set[Reference]()
        while waiting:
            name, used = reference = waiting.pop()
            if reference not in seen and (module := self.module(name)):
                seen.add(reference)
                waiting += module.references if used or not module.is_package else module.eager_references
                waiting.append((name.rpartition(".")[0], False))
        return seen


class Module:
    """A module of the package."""

    def __init__(self, code: Code, name: str, path: Path) -> None:
        self.code, self.name, self.path = code, name, path
        self.is_package = path.name == "__init__.py"

    @cached_property
    def source(self) -> str:
        return self.path.read_text(encoding="utf-8")

    @cached_property
    def tree(self) -> ast.Module:
        return parse(self.source, str(self.path))

    @cached_property
    def digests(self) -> dict[str, str]:
        """SHA-256 of the module's code, and of the data files beside it that it names."""
        texts = {node.value for node in ast.walk(self.tree) if isinstance(node, ast.Constant)}
        named = {text for text in texts if isinstance(text, str) and re.fullmatch(r"[\w./-]+\.\w+", text)}
        data = [file for text in named if (file := self.path.parent / text).is_file() and file.suffix != ".py"]
        contents = {self.path: normalised(self.source).encode(), **{file: file.read_bytes() for file in data}}
        package = self.code.root / PACKAGE
        return {file.relative_to(package).as_posix(): digest(content) for file, content in contents.items()}

    @cached_property
    def eager_references(self) -> list[Reference]:
        """What importing the module imports, but for the bodies of its functions."""
        return self._references(deep=False)

    @cached_property
    def references(self) -> list[Reference]:
        """What the module may import; a lazy package names its modules in strings."""
        texts = (node.value for node in ast.walk(self.tree) if isinstance(node, ast.Constant) and self.is_package)
        names = (f"{self.name}.{text.lstrip('.')}" for text in texts if isinstance(text, str))
        return [*self._references(deep=True), *((name, True) for name in names if self.code.module(name))]

    def _references(self, deep: bool) -> list[Reference]:
        package = self.name if self.is_package else self.name.rpartition(".")[0]
        return list(_references(self.code, self.tree, _walk(self.tree, deep), package))


def parse(source: str, where: str) -> ast.Module:
    """The tree of a module or of cells, where IPython's own lines become strings; InputError, with `where`, if none."""
    try:
        return ast.parse(re.sub(r"^(\s*)([%!].*)$", lambda line: f"{line[1]}{line[2]!r}", source, flags=re.MULTILINE))
    except SyntaxError as error:
        raise InputError(f"{where} is not Python: {error.msg} in line {error.lineno}: {error.text}".rstrip()) from None


def notebook_digest(sources: Iterable[str]) -> str:
    """SHA-256 of code cells, whatever their comments and their layout."""
    return digest("\0".join(ast.unparse(parse(source, "a notebook's code")) for source in sources).encode())


def normalised(source: str) -> str:
    """The code of a module without comments, docstrings and layout."""
    return ast.unparse(_WithoutDocstrings().visit(ast.parse(source)))


def digest(content: bytes) -> str:
    return hashlib.sha256(content).hexdigest()


def _references(code: Code, tree: ast.AST, nodes: Iterable[ast.AST], package: str = "") -> Iterator[Reference]:
    """The modules that `nodes` of a `tree` import, use as attributes of imported ones, or name in full in strings."""
    bound: dict[str, str] = {}
    names = []
    for node in nodes:
        match node:
            case ast.Import(names=aliases):
                names += [alias.name for alias in aliases]
                bound |= {
                    alias.asname or _first(alias.name): alias.name if alias.asname else _first(alias.name)
                    for alias in aliases
                }
            case ast.ImportFrom(names=aliases):
                imported = {alias.asname or alias.name: f"{_source(node, package)}.{alias.name}" for alias in aliases}
                names += imported.values()
                bound |= imported
            case ast.Constant(value=str(text)) if text.startswith(f"{PACKAGE}."):
                names.append(text.replace(":", "."))
    dotted = filter(None, map(_dotted, ast.walk(tree)))
    names += [f"{bound[first]}.{rest}" for first, _, rest in (name.partition(".") for name in dotted) if first in bound]
    yield from filter(None, map(code.resolve, names))


def _walk(node: ast.AST, deep: bool) -> Iterator[ast.AST]:
    """The nodes below `node` that can run; without `deep`, those that run when it is imported."""
    for child in ast.iter_child_nodes(node):
        is_function = isinstance(child, ast.FunctionDef | ast.AsyncFunctionDef | ast.Lambda)
        is_for_types = isinstance(child, ast.If) and "TYPE_CHECKING" in ast.unparse(child.test)
        if not is_for_types and (deep or not is_function):
            yield child
            yield from _walk(child, deep)


def _source(node: ast.ImportFrom, package: str) -> str:
    """The absolute name of the module that names are imported from."""
    above = package.split(".")[: len(package.split(".")) - node.level + 1] if node.level else []
    return ".".join([*above, *([node.module] if node.module else [])])


def _dotted(node: ast.AST) -> str:
    """The name a.b.c of an attribute; "" for anything else."""
    match node:
        case ast.Attribute(value=ast.Name(id=name), attr=attribute):
            return f"{name}.{attribute}"
        case ast.Attribute(value=inner, attr=attribute):
            return f"{before}.{attribute}" if (before := _dotted(inner)) else ""
    return ""


def _first(dotted: str) -> str:
    return dotted.partition(".")[0]


class _WithoutDocstrings(ast.NodeTransformer):
    def generic_visit(self, node: ast.AST) -> ast.AST:
        super().generic_visit(node)
        if getattr(node, "body", None) == [] and not isinstance(node, ast.Module):
            node.body = [ast.Pass()]  # type: ignore[attr-defined]
        return node

    def visit_Expr(self, node: ast.Expr) -> ast.Expr | None:
        is_text = isinstance(node.value, ast.Constant) and isinstance(node.value.value, str)
        return None if is_text else node
