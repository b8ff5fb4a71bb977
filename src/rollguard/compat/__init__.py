"""Find what a new version of a tool's code changes for callers, from the syntax tree. Pure.

The package runs no code and does no I/O: bytes in, changes out. The order of the modules is the order of the data:
`annotation_schema` (an annotation as JSON Schema) → `extract` (code as an `Interface`) → `schema_diff` (two schemas) →
`diff` (two interfaces). `form` tells whether a file holds a tool at all, `place` which tools a file or a package holds,
and `archive` is a package as one text.
"""

from rollguard.compat.archive import is_package, pack, unpack
from rollguard.compat.diff import changes
from rollguard.compat.extract import read
from rollguard.compat.form import FileForm, Form, form_of, too_large
from rollguard.compat.model import Change, ChangeKind, Interface
from rollguard.compat.place import LARGEST, Place, located, place_of, tools_in
from rollguard.compat.scope import function_name

__all__ = [
    "LARGEST",
    "Change",
    "ChangeKind",
    "FileForm",
    "Form",
    "Interface",
    "Place",
    "changes",
    "form_of",
    "function_name",
    "is_package",
    "located",
    "pack",
    "place_of",
    "read",
    "too_large",
    "tools_in",
    "unpack",
]
