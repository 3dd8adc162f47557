"""The command line of a course's staff: make the starter, grade a hand-in, renew public.json."""

import argparse
import json
import subprocess
import sys
from pathlib import Path

from course.grading import PUBLIC, PUBLIC_SEED, references
from course.starter import starter_zip

ROOT = Path(__file__).resolve().parent.parent


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    parser = argparse.ArgumentParser(prog="python -m course", description="For a course's staff.")
    commands = parser.add_subparsers(dest="command", required=True)
    starter = commands.add_parser("starter", help="make the zip that students get")
    starter.add_argument("out", type=Path, metavar="OUT.zip")
    grade = commands.add_parser(
        "grade", help="grade a hand-in; further options are those of pytest, as --seed=N"
    )
    grade.add_argument("file", type=Path, metavar="FILE.zip")
    grade.add_argument("--grades", type=Path, metavar="FILE", help="write the sheet as JSON")
    grade.add_argument("--no-notebook", action="store_true", help="grade the code only")
    commands.add_parser("public", help=f"renew {PUBLIC.name}, after changes of the rubric")
    args, others = parser.parse_known_args(argv)
    if args.command == "grade":
        # with =, since pytest takes a file that stands alone for one of the project to be tested
        options = [f"--hand-in={args.file.resolve()}", *others]
        options += [f"--grades={args.grades.resolve()}"] if args.grades else []
        options += [] if args.no_notebook else ["--nbval"]
        command = [sys.executable, "-m", "pytest", "-q", "--no-header", *options]
        return subprocess.run(command, cwd=ROOT, check=False).returncode
    if others:
        parser.error(f"unknown arguments: {' '.join(others)}")
    try:
        if args.command == "starter":
            args.out.write_bytes(starter_zip(ROOT))
        else:
            text = json.dumps(references(ROOT, PUBLIC_SEED), indent=None, separators=(",", ":"))
            PUBLIC.write_text(text.replace('},"', '},\n"') + "\n", "utf-8")
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
