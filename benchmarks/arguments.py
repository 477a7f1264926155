"""The arguments of the command line."""

from __future__ import annotations

import argparse
from pathlib import Path

from benchmarks.case import BATCHES
from benchmarks.contestants import CONTESTANTS
from tests.problems import FAMILIES


def read_arguments() -> argparse.Namespace:
    """The arguments given, checked."""
    parser = argparse.ArgumentParser(
        prog="python -m benchmarks", description="Time and accuracy of optlayers beside its rivals."
    )
    solvers, families = [each.name for each in CONTESTANTS], [family.name for family in FAMILIES]
    choose = parser.add_argument_group("what is run; without any of these, the headline")
    choose.add_argument("--families", nargs="+", default=[], choices=families, metavar="NAME", help=_list(families))
    choose.add_argument("--sizes", nargs="+", default=[], type=int, metavar="N", help="instead of the catalogue's")
    choose.add_argument("--batches", nargs="+", default=[], type=int, metavar="B", help=f"instead of {_list(BATCHES)}")
    choose.add_argument("--solvers", nargs="+", default=[], choices=solvers, metavar="NAME", help=_list(solvers))
    choose.add_argument("--all", action="store_true", help="every family at all of its benchmark sizes")
    choose.add_argument("--quick", action="store_true", help="each family once, at the size of the tests")
    how = parser.add_argument_group("how")
    how.add_argument(
        "--form",
        choices=["given", "plain"],
        default="given",
        help="given: each contestant gets the catalogue's form, and the plain one if it refuses; plain: all get that",
    )
    how.add_argument("--repeats", type=int, metavar="R", help="timed calls after the first")
    how.add_argument("--budget", type=float, default=10.0, metavar="S", help="seconds after which no call is begun")
    how.add_argument("--json", type=Path, metavar="PATH", help="write the results there too")
    maros = parser.add_argument_group("Maros-Meszaros, instead of the above")
    maros.add_argument("--maros", type=Path, metavar="FOLDER", help="run the .mat files of this folder")
    maros.add_argument("--maros-solver", metavar="NAME", help="OSQP, SCS or CLARABEL, instead of the package's choice")
    maros.add_argument("--maros-limit", type=float, default=120.0, metavar="S", help="seconds allowed for a problem")
    return parser.parse_args()


def _list(names: list[str] | tuple[int, ...]) -> str:
    return ", ".join(str(name) for name in names)
