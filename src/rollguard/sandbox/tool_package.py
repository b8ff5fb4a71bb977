"""Run a package from the bytes of its files, under a name of its own, so that two versions never mix in one process.

Its modules import one another relatively, or by the package's own name; both lead to the modules of the same version,
also in an import that runs after another version was put in its place. Imports no other package.
"""

from __future__ import annotations

import builtins
import sys
import types
from importlib.machinery import ModuleSpec

TYPE_CHECKING = False
if TYPE_CHECKING:
    from collections.abc import Sequence
    from typing import Any


class Package:
    """The modules of one version. They can be imported until it is released.

    Args:
        name: the name of its root module, which no other has.
        own: the name by which its modules import one another absolutely.
        files: the content of its files by their paths.
        folder: where the files are on disk, for `__file__` and tracebacks.
    """

    def __init__(self, name: str, own: str, files: dict[str, bytes], folder: str) -> None:
        self.name, self._own, self._files, self._folder = name, own, files, folder
        self._builtins = {**vars(builtins), "__import__": self._import}
        if _FINDER not in sys.meta_path:
            sys.meta_path.append(_FINDER)
        _FINDER.packages[name] = self

    def run(self) -> types.ModuleType:
        """Run `__init__.py` and return its module. It is in `sys.modules` even if it fails."""
        spec = self.spec(self.name)
        if spec is None:
            raise ModuleNotFoundError(f"{self._folder} has no __init__.py")
        module = types.ModuleType(self.name)
        module.__spec__, module.__package__ = spec, self.name
        module.__loader__ = self  # type: ignore[assignment]
        module.__path__ = []
        module.__file__ = spec.origin
        sys.modules[self.name] = module
        self.exec_module(module)
        return module

    def release(self) -> None:
        """Forget the modules. What still runs goes on, and imports no more of them."""
        _FINDER.packages.pop(self.name, None)
        for name in [each for each in sys.modules if each == self.name or each.startswith(f"{self.name}.")]:
            sys.modules.pop(name, None)

    # --- as a loader -----------------------------------------------------------------------------------------------

    def spec(self, fullname: str) -> ModuleSpec | None:
        """Return the spec of one of the modules; None if there is no such file."""
        path, is_package = self._path_of(fullname)
        if path is None:
            return None
        spec = ModuleSpec(fullname, self, origin=f"{self._folder}/{path}", is_package=is_package)  # type: ignore[arg-type]
        spec.has_location = path in self._files
        return spec

    def create_module(self, spec: ModuleSpec) -> None:
        """Let Python create the module."""

    def exec_module(self, module: types.ModuleType) -> None:
        """Run one of the modules from its source."""
        path, _ = self._path_of(module.__name__)
        module.__dict__["__builtins__"] = self._builtins
        source = self._files.get(path or "", b"")  # a folder without `__init__.py` holds modules, too
        exec(compile(source, f"{self._folder}/{path}", "exec", dont_inherit=True), module.__dict__)  # noqa: S102

    def get_data(self, path: str) -> bytes:
        """Return a file of this version by its path, as `pkgutil.get_data` asks for it."""
        try:
            return self._files[path.removeprefix(f"{self._folder}/")]
        except KeyError:
            raise FileNotFoundError(path) from None

    def _path_of(self, fullname: str) -> tuple[str | None, bool]:
        parts = fullname.split(".")[1:]
        where = "/".join(parts)
        init = f"{where}/__init__.py".lstrip("/")
        if init in self._files:
            return init, True
        if where and f"{where}.py" in self._files:
            return f"{where}.py", False
        within = f"{where}/"
        return (within, True) if where and any(each.startswith(within) for each in self._files) else (None, False)

    def _import(
        self,
        name: str,
        globals: dict[str, Any] | None = None,  # noqa: A002 - the signature of `__import__`
        locals: dict[str, Any] | None = None,  # noqa: A002
        fromlist: Sequence[str] = (),
        level: int = 0,
    ) -> Any:
        if level == 0 and (name == self._own or name.startswith(f"{self._own}.")):
            name = self.name + name[len(self._own) :]
        return builtins.__import__(name, globals, locals, fromlist, level)


class _Finder:
    """Finds the modules of all packages that are loaded."""

    def __init__(self) -> None:
        self.packages: dict[str, Package] = {}

    def find_spec(self, fullname: str, path: object = None, target: object = None) -> ModuleSpec | None:
        package = self.packages.get(fullname.partition(".")[0])
        return None if package is None else package.spec(fullname)


_FINDER: Any = _Finder()
