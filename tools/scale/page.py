"""Puts the programs of this folder, and the tables of on_paper.py, into a page, between their markers.

usage: page.py [--check] docs/scale.md     with --check nothing is written, and a page that is not up to date is an error
"""

from __future__ import annotations

import re
import subprocess
import sys
from pathlib import Path

HERE = Path(__file__).parent
#: `<!-- file NAME -->` and `<!-- output NAME ARGUMENT -->`, up to `<!-- end -->`.
MARKED = re.compile(r"(<!-- (file|output) (\S+(?: \S+)?) -->\n).*?(<!-- end -->)", re.DOTALL)


def filled(match: re.Match[str]) -> str:
    begin, kind, names, end = match.groups()
    name, *arguments = names.split()
    path = HERE / name
    if kind == "file":
        language = {".py": "python", ".sh": "sh"}[path.suffix]
        return f"{begin}```{language}\n{path.read_text()}```\n{end}"
    said = subprocess.run([sys.executable, str(path), *arguments], check=True, capture_output=True, text=True).stdout
    return f"{begin}{said}{end}"


def main() -> None:
    check, page = "--check" in sys.argv[1:], Path(sys.argv[-1])
    text = page.read_text()
    found = MARKED.sub(filled, text)
    if text.count("<!-- file ") + text.count("<!-- output ") != len(MARKED.findall(text)) or not MARKED.search(text):
        raise SystemExit(f"{page}: a marker has no end, or there is none")
    if check and found != text:
        raise SystemExit(f"{page} does not show what is run: run {sys.argv[0]} {page}")
    if not check:
        page.write_text(found)


if __name__ == "__main__":
    main()
