"""What a call does, in words."""

from __future__ import annotations

from optlayers.implicit.equation import Equation
from optlayers.implicit.layout import Layout
from optlayers.implicit.settings import Plan, Semantics
from optlayers.implicit.stopping import Stop, stop_of

EQUATIONS = {
    "root": "F(z, theta) = 0",
    "fixed_point": "z = g(z, theta), as F = z - g = 0",
    "argmin": "F = gradient of phi(z, theta) by z = 0",
}

BOUNDS = {
    Stop.ABSOLUTE: "|F(z)| <= {:.2g}",
    Stop.REDUCTION: "|F(z)| <= {:.2g} |F(z0)|",
    Stop.RELATIVE: "|F(z)| <= {:.2g} |z|",
}

LINEAR_BOUNDS = {
    Stop.ABSOLUTE: "|J u - rhs| <= {:.2g}",
    Stop.REDUCTION: "|J u - rhs| <= {:.2g} |rhs|",
    Stop.RELATIVE: "|J u - rhs| <= {:.2g} |u|",
}

SEMANTICS = {
    Semantics.IMPLICIT: "the equation, at the z that is returned: J_z dz = -J_theta dtheta, and J_z' u = g, "
    "g_theta = -J_theta' u",
    Semantics.UNROLLED: "the iterations that ran, {}: the derivative of what was computed",
    Semantics.ONE_STEP: "one iteration, begun anew at the z that is returned: a step for the solution of each linear "
    "system",
}


def explain(equation: Equation, layout: Layout, plan: Plan) -> str:
    """One line for each: the equation, the solver, what is differentiated, the linear solver, failures."""
    solver, backward = plan.solver, plan.backward
    elements = f", for each element of a batch {layout.batch}" if layout.batch else ""
    unknowns = "1 unknown" if layout.size == 1 else f"{layout.size} unknowns"
    semantics = SEMANTICS[plan.semantics].format("all of them" if plan.last is None else f"the last {plan.last}")
    lines = [
        f"{equation.kind}: {EQUATIONS[equation.kind]}; {unknowns}{elements}",
        f"solver: {solver}",
        f"    stops where {BOUNDS[stop_of(solver.stop)].format(plan.tolerance)}, the largest entry, or after "
        f"{solver.max_iterations} iterations",
        f"differentiated: {semantics}",
    ]
    if plan.semantics is not Semantics.UNROLLED:
        lines += [
            f"linear systems: {backward}",
            f"    {backward.ends(LINEAR_BOUNDS[stop_of(backward.stop)].format(plan.backward_tolerance))}",
        ]
    lines.append(f"on failure: {plan.rule.forward_policy.on_failure.value}")
    mismatch = plan.mismatch
    return "\n".join([*lines, f"note: {mismatch}"] if mismatch else lines)
