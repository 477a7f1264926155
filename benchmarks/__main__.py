"""The command line: `python -m benchmarks --help`."""

from __future__ import annotations

from benchmarks.arguments import read_arguments
from benchmarks.case import choose_cases, headline_cases, missing_headlines
from benchmarks.contest import make_case_reference, run_case, warm_up
from benchmarks.contestants import CONTESTANTS
from benchmarks.environment import describe_environment
from benchmarks.maros import run_maros
from benchmarks.record import write_records
from benchmarks.report import row, title

REPEATS, QUICK_REPEATS = 11, 3


def main() -> None:
    """Read the arguments, run, print."""
    arguments = read_arguments()
    environment = describe_environment()
    print("\n".join(f"{name}: {value}" for name, value in environment.items()), flush=True)
    if arguments.maros is not None:
        run_maros(arguments.maros, arguments.maros_solver, arguments.maros_limit, arguments.json, environment)
        return
    contestants = [each for each in CONTESTANTS if not arguments.solvers or each.name in arguments.solvers]
    repeats = arguments.repeats or (QUICK_REPEATS if arguments.quick else REPEATS)
    warm_up(contestants)
    results = []
    chosen = (arguments.families, arguments.sizes, arguments.batches, arguments.quick)
    if arguments.all or any(chosen):
        cases = choose_cases(*chosen)
    else:
        cases = headline_cases()
        print("".join(f"\n{name}: not in the catalogue yet" for name in missing_headlines()))
    for case in cases:
        reference = make_case_reference(case)
        print(f"\n{title(case, reference)}", flush=True)
        for result in run_case(case, reference, contestants, arguments.form, repeats, arguments.budget):
            print(row(result), flush=True)
            results.append(result)
        if arguments.json is not None:
            write_records(arguments.json, environment, [result.as_record() for result in results])


if __name__ == "__main__":
    main()
