"""The command line: `python -m course starter OUT.zip` and `python -m course public`."""

import argparse
import json
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
    commands.add_parser("public", help=f"renew {PUBLIC.name}, after changes of the rubric")
    args = parser.parse_args(argv)
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
