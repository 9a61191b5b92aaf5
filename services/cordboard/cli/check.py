"""`cordboard check`: holds a folder of definitions against every rule, without a mesh."""

from __future__ import annotations

import subprocess
from dataclasses import asdict
from pathlib import Path
from typing import Annotated, Final
from xml.etree import ElementTree

import typer

from cordboard.catalog.folder import RULES, File, Finding, Report, check_files
from cordboard.cli.documents import read
from cordboard.cli.failures import CommandFailed
from cordboard.cli.options import Output
from cordboard.cli.output import Format, console, errors, marked, show_json
from cordboard.cli.session import run

SUFFIXES: Final = (".yaml", ".yml", ".json")
# The JSON Schema of definitions, which stands beside them.
NO_DEFINITION: Final = frozenset({"schema.json"})


def check(
    paths: Annotated[list[Path], typer.Argument(help="Folders of definitions, or single files.")],
    against: Annotated[
        str, typer.Option("--against", help="The definitions as they were: a folder, or a Git revision.")
    ] = "",
    junit: Annotated[
        Path | None, typer.Option("--junit", help="Also write the results as JUnit XML into this file, for CI.")
    ] = None,
    output: Output = Format.TABLE,
) -> None:
    """Check definitions without a mesh: format, bases, owners, examples, and compatibility with what they were.

    Exit codes: 0 all is well; 1 something was found; 2 there is nothing to check, or it cannot be read.
    """

    async def work() -> None:
        files = [path for given in paths for path in definition_files(given)]
        if not files:
            raise CommandFailed("there is no definition (*.yaml, *.yml, *.json) to check", 2)
        reports = check_files([File(str(path), read(path)) for path in files], _earlier(against, files))
        if junit is not None:
            _write(junit, junit_xml(reports))
        if output is Format.JSON:
            show_json([asdict(report) for report in reports])
        else:
            _show(reports)
        count = sum(len(report.findings) for report in reports)
        if count:
            raise CommandFailed(f"{count} found in {len([one for one in reports if one.findings])} of {len(reports)}")

    run(work)


def definition_files(path: Path) -> list[Path]:
    """Returns the definitions that a path means: itself, or those that stand directly in it, by name."""
    if path.is_file():
        return [path]
    if not path.is_dir():
        raise CommandFailed(f"{path} is neither a file nor a folder", 2)
    return sorted(
        each
        for each in path.iterdir()
        if each.suffix in SUFFIXES and each.name not in NO_DEFINITION and not each.name.startswith(".")
    )


def junit_xml(reports: list[Report]) -> str:
    """Returns the results as JUnit XML: a suite for each file, a case for each rule."""
    root = ElementTree.Element("testsuites", name="cordboard check")
    for report in reports:
        broken = {finding.rule for finding in report.findings}
        suite = ElementTree.SubElement(
            root, "testsuite", name=report.file, tests=str(len(RULES)), failures=str(len(broken)), errors="0"
        )
        for rule in RULES:
            case = ElementTree.SubElement(suite, "testcase", classname=report.file, name=rule)
            if rule in broken:
                lines = [_line(report, finding) for finding in report.findings if finding.rule == rule]
                failure = ElementTree.SubElement(case, "failure", message=f"{len(lines)} found", type=rule)
                failure.text = "\n".join(lines)
    return ElementTree.tostring(root, encoding="unicode", xml_declaration=True) + "\n"


def _show(reports: list[Report]) -> None:
    for report in reports:
        for finding in report.findings:
            console.print(marked("red", finding.rule, _line(report, finding)), soft_wrap=True)
    actions, examples = sum(one.actions for one in reports), sum(one.examples for one in reports)
    well = len([one for one in reports if not one.findings])
    errors.print(f"{well} of {len(reports)} definitions are well: {actions} actions, {examples} recorded examples")


def _line(report: Report, finding: Finding) -> str:
    place = f":{finding.line}:{finding.column}" if finding.line else ""
    field = f"{finding.field}: " if finding.field else ""
    return f"{report.file}{place}: {field}{finding.text}"


def _earlier(against: str, files: list[Path]) -> list[File]:
    if not against:
        return []
    folder = Path(against)
    if folder.is_dir():
        return [File(str(path), read(path)) for path in definition_files(folder)]
    found = []
    for path in files:
        _git(path.parent, "rev-parse", "--verify", "--quiet", "--end-of-options", f"{against}^{{commit}}")
        shown = _git(path.parent, "show", "--end-of-options", f"{against}:./{path.name}", missing=True)
        found += [] if shown is None else [File(str(path), shown)]
    return found


def _git(folder: Path, *arguments: str, missing: bool = False) -> str | None:
    """Returns what git prints; None where it fails and that only means that something is not there."""
    try:
        done = subprocess.run(
            ["git", "-C", str(folder), *arguments],
            capture_output=True,
            check=False,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
    except OSError as error:
        raise CommandFailed(f"git cannot be run: {error}", 2) from None
    if done.returncode == 0:
        return done.stdout
    if missing:
        return None
    raise CommandFailed("--against names neither a folder nor a commit of the repository that the files are in", 2)


def _write(path: Path, text: str) -> None:
    try:
        path.write_text(text, encoding="utf-8")
    except OSError as error:
        raise CommandFailed(f"{path}: {error}", 2) from None
