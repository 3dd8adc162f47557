"""The command line of a course's staff: make the starter, grade hand-ins, renew public.json."""

import argparse
import json
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

from course import box, folder, gradebook
from course.feedback import page
from course.grading import PUBLIC, PUBLIC_SEED, references
from course.sheet import plain
from course.starter import starter_zip

ROOT = Path(__file__).resolve().parent.parent


def parser() -> argparse.ArgumentParser:
    """Return the command line."""
    main = argparse.ArgumentParser(prog="python -m course", description="For a course's staff.")
    commands = main.add_subparsers(dest="command", required=True)
    starter = commands.add_parser("starter", help="make the zip that students get")
    starter.add_argument("out", type=Path, metavar="OUT.zip")
    grade = commands.add_parser(
        "grade", help="grade a hand-in or a folder of them; further options are those of pytest"
    )
    option = grade.add_argument
    option("path", type=Path, metavar="FILE.zip|FOLDER")
    option("--out", type=Path, metavar="DIR", help="where a class's sheets, PDFs and grades go")
    option("--grades", type=Path, metavar="FILE", help="of one zip: write the sheet as JSON")
    option("--seed", type=int, help="of the hidden inputs; default: what DIR had before, or any")
    option("--rerun", choices=folder.RERUN, help="whose reports are executed; default: all")
    option("--jobs", type=int, help="zips at once; default: -1, one a core")
    option("--roster", type=Path, metavar="FILE.csv", help=", ".join(gradebook.ROSTER))
    option("--manual", type=Path, metavar="FILE.csv", help="points by people, as in the template")
    option("--deadline", metavar="TIME", help="as 2026-03-06T23:59, to report hours late")
    commands.add_parser("public", help=f"renew {PUBLIC.name}, after changes of the rubric")
    return main


def main(argv: list[str] | None = None) -> int:
    """Run the command line; return its exit status."""
    command_line = parser()
    args, others = command_line.parse_known_args(argv)
    if others and args.command != "grade":
        command_line.error(f"unknown arguments: {' '.join(others)}")
    try:
        if args.command == "starter":
            args.out.write_bytes(starter_zip(ROOT))
        elif args.command == "public":
            text = json.dumps(references(ROOT, PUBLIC_SEED), indent=None, separators=(",", ":"))
            PUBLIC.write_text(text.replace('},"', '},\n"') + "\n", "utf-8")
        elif args.out:
            return grade_class(args, others)
        else:
            return show_one(args, others)
    except (OSError, ValueError, RuntimeError) as error:
        print(f"error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("interrupted; the same command goes on from here", file=sys.stderr)
        return 130  # as shells count it
    return 0


def show_one(args: argparse.Namespace, others: Sequence[str]) -> int:
    """Grade one zip and show its sheet; return pytest's exit status.

    Raises:
        ValueError: it is a folder, or options are for one.
    """
    if args.path.is_dir():
        raise ValueError(f"{args.path} is a folder, expected --out=DIR with it, for the grades")
    of_class = args.roster, args.manual, args.deadline, args.jobs
    if args.rerun == "sample" or any(option is not None for option in of_class):
        raise ValueError(
            "--roster, --manual, --deadline, --jobs and --rerun=sample are for a class: give "
            "--out=DIR, too"
        )
    options = list(others)
    options += [f"--grades={args.grades.absolute()}"] if args.grades else []
    options += [] if args.seed is None else [f"--seed={args.seed}"]
    command = folder.pytest_command(args.path, options, notebook=args.rerun != "none")
    return subprocess.run(command, cwd=ROOT, check=False).returncode


def grade_class(args: argparse.Namespace, others: Sequence[str]) -> int:
    """Grade a folder of zips, or one of them, into the folder OUT; return the exit status.

    Raises:
        OSError, ValueError: something that was given is not as expected; nothing was graded.
    """
    if args.grades:
        raise ValueError("--grades is for one zip without --out, which has all sheets: omit it")
    if (why := box.why_no_box()) and "--trust" not in others:
        raise ValueError(f"{why}. With --trust there is no box: {box.UNPROTECTED}")
    whole = args.path.is_dir()
    if not whole and (args.roster or args.manual or args.deadline):
        raise ValueError(
            "--roster, --manual and --deadline are for the gradebook, which one zip does not "
            "make: give them with the folder"
        )
    paths = folder.hand_ins(args.path) if whole else [args.path]
    deadline = gradebook.moment(args.deadline) if args.deadline else None
    students = gradebook.read_roster(args.roster, paths) if args.roster else None
    students = students or gradebook.without_roster(paths)
    given = gradebook.read_manual(args.manual, students) if args.manual else {}
    out = args.out.absolute()
    out.mkdir(parents=True, exist_ok=True)
    options = folder.Options(
        folder.class_seed(out, args.seed),
        folder.rubric_digest(),
        args.rerun or "all",
        tuple(others),
    )
    if whole:
        announce(args.path, paths, options)
    outcomes = folder.grade_all(paths, out, options, -1 if args.jobs is None else args.jobs)
    failed = {outcome.path: outcome.why for outcome in outcomes if outcome.why}
    if whole:
        entries = gradebook.entries(students, out, failed, given, deadline)
        write_all(entries, out, args.manual)
        new = sum(outcome.new for outcome in outcomes) - len(failed)
        kept = len(outcomes) - len(failed) - new
        counts = f"{new} graded, {kept} as before, {len(failed)} not graded"
        print(f"{counts}: {args.out / 'grades.csv'}")
    return 1 if failed else 0


def announce(path: Path, paths: Sequence[Path], options: folder.Options) -> None:
    """Say whose reports are a sample, and what in the folder is no hand-in."""
    if options.rerun == "sample":
        names = [plain(p.name) for p in paths if folder.reran(p, options)]
        counts = f"{len(names)} of {len(paths)} reports are executed, drawn by the seed"
        print(f"{counts}: {', '.join(names)}")
    for other in sorted(path.iterdir()):
        if not folder.is_hand_in(other):
            print(f"{plain(other.name)}: no *.zip, not graded", file=sys.stderr)


def write_all(entries: Sequence[gradebook.Entry], out: Path, manual: Path | None) -> None:
    """Write a page for each student, the template for points by people, and the gradebook."""
    (out / "feedback").mkdir(exist_ok=True)
    for entry in entries:
        name = folder.safe_name(entry.student.name)
        folder.write(out / "feedback" / f"{name}.html", page(entry).encode())
    template = out / "manual-template.csv"
    if gradebook.is_filled(template, manual, entries):
        print(f"{template} has been filled in and is left as it is: give it by --manual")
    else:
        folder.write(template, gradebook.template(entries))
    folder.write(out / "grades.csv", gradebook.grades(entries))


if __name__ == "__main__":
    sys.exit(main())
