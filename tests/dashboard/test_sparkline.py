"""Curves as small drawings, and in words."""

from __future__ import annotations

from dashboard import job_list, sparkline


def test_the_highest_value_is_at_the_top_and_the_last_round_at_the_right() -> None:
    drawn = sparkline.svg([(1, 0.0), (3, 1.0)])
    assert 'points="3.0,25.0 107.0,3.0"' in drawn
    assert '<circle cx="107.0" cy="3.0"' in drawn


def test_a_flat_curve_is_a_line_in_the_middle() -> None:
    assert 'points="3.0,14.0 107.0,14.0"' in sparkline.svg([(1, 0.5), (2, 0.5)])


def test_a_curve_is_told_in_words() -> None:
    assert sparkline.in_words([], "accuracy") == "accuracy: not measured yet"
    assert sparkline.in_words([(2, 0.5)], "loss") == "loss 0.500 in round 2"
    assert 'alt="a&lt;b' in sparkline.image([], "a<b")


def test_an_act_reaches_the_jobs_whose_state_allows_it() -> None:
    jobs = [{"state": "running"}, {"state": "done"}, {"state": "paused"}]
    assert job_list.can("cancel", jobs) == [jobs[0], jobs[2]]
    assert job_list.can("delete", jobs) == [jobs[1]]
    assert job_list.left_out("delete", 1, 1) == ""
