#!/usr/bin/env python3
"""Prints a table of covered lines and regions by module, out of `llvm-cov export`. Writes the functions that no test enters, and
the lines that no test runs, beside the input, into uncovered.txt. Test modules inside source files are left out."""

import collections
import json
import pathlib
import re
import sys

ROOT = pathlib.Path(__file__).resolve().parent.parent


def end_of_code(path):
    """The number of the last line before the test module, which stands last in a file of this repository."""
    lines = path.read_text().splitlines()
    for number, line in enumerate(lines):
        if line == "#[cfg(test)]" and number + 1 < len(lines) and re.match(r"(pub\(.*\) )?mod tests \{", lines[number + 1]):
            return number
    return len(lines)


def module(path):
    parts = path.relative_to(ROOT).parts
    if parts[0] == "crypto":
        return "crypto"
    return parts[1] if len(parts) > 2 else pathlib.Path(parts[1]).stem


def main():
    source = pathlib.Path(sys.argv[1])
    data = json.loads(source.read_text())["data"][0]
    regions, functions = {}, collections.defaultdict(int)
    for function in data["functions"]:
        path = pathlib.Path(function["filenames"][0])
        if not path.is_relative_to(ROOT / "src") and not path.is_relative_to(ROOT / "crypto" / "src"):
            continue
        if "tests" in path.stem or "tests" in path.parts:
            continue
        limit = end_of_code(path)
        for first, column, last, end_column, count, file, _, kind in function["regions"]:
            # Regions of code only; macros expand into other files.
            if kind == 0 and file == 0 and last <= limit:
                key = (path, first, column, last, end_column)
                regions[key] = max(regions.get(key, 0), count)
        start = function["regions"][0]
        if start[2] <= limit:
            key = (path, start[0], start[2])
            functions[key] = max(functions[key], function["count"])

    by_module = collections.defaultdict(lambda: [0, 0, 0, 0])
    lines = {}
    for (path, first, column, last, end_column), count in regions.items():
        cells = by_module[module(path)]
        cells[2] += count > 0
        cells[3] += 1
    # A line is as covered as the innermost region on it: of the regions that include the line, the shortest counts.
    for (path, first, column, last, end_column), count in sorted(
        regions.items(), key=lambda item: (item[0][1] - item[0][3], item[0][2] - item[0][4])
    ):
        for line in range(first, last + 1):
            if first < line or not line_has_code_before(path, line, column):
                lines[path, line] = count
            else:
                lines[path, line] = max(lines.get((path, line), 0), count)
    for (path, line), count in lines.items():
        cells = by_module[module(path)]
        cells[0] += count > 0
        cells[1] += 1

    print("| module | lines | covered | regions | covered |\n|---|---|---|---|---|")
    total = [0, 0, 0, 0]
    for name, cells in sorted(by_module.items()):
        total = [a + b for a, b in zip(total, cells)]
        print(row(f"`{name}`", cells))
    print(row("all", total))

    with open(source.with_name("uncovered.txt"), "w") as out:
        for (path, first, last), count in sorted(functions.items()):
            if count == 0:
                out.write(f"function {path.relative_to(ROOT)}:{first}-{last}: {text(path, first)}\n")
        entered = {key for key, count in functions.items() if count == 0}
        for (path, line), count in sorted(lines.items()):
            within = any(p == path and first <= line <= last for p, first, last in entered)
            if count == 0 and not within and text(path, line) not in ("", "}", "};", "});", "})", ")", "],"):
                out.write(f"line {path.relative_to(ROOT)}:{line}: {text(path, line)}\n")


FILES = {}


def text(path, line):
    if path not in FILES:
        FILES[path] = path.read_text().splitlines()
    return FILES[path][line - 1].strip()


def line_has_code_before(path, line, column):
    text(path, line)
    return FILES[path][line - 1][: column - 1].strip() != ""


def row(name, cells):
    covered_lines, all_lines, covered_regions, all_regions = cells
    return (f"| {name} | {all_lines} | {100 * covered_lines / all_lines:.1f} % "
            f"| {all_regions} | {100 * covered_regions / all_regions:.1f} % |")


main()
