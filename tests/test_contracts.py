"""What methods assign is checked before a pool runs it; what pools answer, in `test_rounds.py`."""

from __future__ import annotations

from dataclasses import replace

import pytest
import small

import avil_ray as avil
from avil_ray.contracts import check_assignments, require_settled
from avil_ray.errors import UserError
from avil_ray.learning.assignment import Assignment


def test_assignments_that_no_pool_could_run_are_refused() -> None:
    suite = small.small_suite()
    run = small.new_run(suite, avil.Equal(), 0)
    fine = Assignment(name="one", weights={"left": 1.0}, steps=1, learning=suite.learning)
    other = replace(fine, name="two")
    assert check_assignments([fine, other], run) == [fine, other]
    for work, said in (
        ([], "assign() must return a list with at least one Assignment"),
        ([fine, None], "assign() must return a list with at least one Assignment"),
        ([fine, other, fine], "assign(): two assignments on track 'main' are called 'one'"),
        ([replace(fine, track="side")], "assign(): 'one' starts from track 'side'; available: main"),
        ([replace(fine, weights={"up": 1.0})], "assign(): 'one' trains 'up', which is not a task of the suite"),
    ):
        with pytest.raises(UserError) as caught:
            check_assignments(work, run)  # type: ignore[arg-type]
        assert str(caught.value) == said


def test_tracks_must_not_change_while_their_figures_are_still_to_come() -> None:
    run = small.new_run(small.small_suite(), avil.Equal(), 0)
    assert require_settled(run, replace(run, rows=({},)), 3).rows == ({},)
    with pytest.raises(UserError, match=r"begin\(\) of round 3 changes tracks .*reads_select\(\) must return True"):
        require_settled(run, run.with_main(run.main.rewound()), 3)
    with pytest.raises(UserError, match="changes tracks"):
        require_settled(run, run.with_tracks({"side": run.main}), 3)
