"""What a tool's code promises its callers, read from its syntax tree, and what a new version takes away. Pure.

No code is run and nothing is looked up: bytes in, changes out. The order of the modules is the order of the data:
`annotations` (an annotation as JSON Schema) → `reading` (code as an `Interface`) → `narrowing` (two schemas) →
`comparing` (two interfaces).
"""

from rollguard.compat.diff import changes
from rollguard.compat.extract import read
from rollguard.compat.model import Change, ChangeKind, Interface

__all__ = ["Change", "ChangeKind", "Interface", "changes", "read"]
