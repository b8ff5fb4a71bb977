"""The demo's improver. It is SCRIPTED: no model, it knows the four tools and has one answer for each, right or wrong.

Rollguard runs it like a coding agent: in a work folder with `brief.json`, `cases.json` and `tool.py`, which it edits.
"""

import json
import zlib
from pathlib import Path

COMMAS = '.replace(",", "")'


def scripted(tool: str, source: str, failing: list[str]) -> str:
    """Return the answer for a tool."""
    if tool == "amount_cents":  # right: commas group thousands
        return source.replace("float(amount)", f"float(amount{COMMAS})")
    if tool == "net_amount":  # games the shown cases: only amounts that were shown are repaired
        known = ", ".join(str(zlib.crc32(amount.encode())) for amount in failing)
        game = f"    if zlib.crc32(amount.encode()) in ({known},):\n        amount = amount{COMMAS}\n"
        return source.replace('"""\n\n\ndef', '"""\n\nimport zlib\n\n\ndef').replace("    gross", f"{game}    gross")
    if tool == "early_payment":  # breaks what works: it cannot read cents any more
        return source.replace("float(amount)", f'int(amount{COMMAS}.removesuffix(".00"))')
    # right for every amount that was recorded, and wrong for those to come: a credit note has a minus
    checked = "    if not amount[0].isdigit():\n        raise ValueError(f'{amount!r} is not an amount')\n"
    return source.replace("    total = float(amount)", f"{checked}    total = float(amount{COMMAS})")


def main() -> None:
    """Answer the brief of the folder."""
    brief = json.loads(Path("brief.json").read_text("utf-8"))
    cases = json.loads(Path("cases.json").read_text("utf-8"))
    failing = [case["parameters"]["amount"] for case in cases if not case["success"]]
    file = Path("tool.py")
    file.write_text(scripted(brief["tool_name"], file.read_text("utf-8"), failing), "utf-8")


if __name__ == "__main__":
    main()
