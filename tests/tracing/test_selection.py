"""Which prompts a figure shows: the middle of equal parts of the total effect."""

from engram.tracing import selection


def test_prompts_are_chosen_in_the_middle_of_equal_parts_of_the_total_effect(fakes):
    traced = fakes.traced(10)
    traced["clean"] = [0.9, 0.5, 0.7, 0.6, 0.8, 0.95, 0.55, 0.75, 0.65, 0.85]
    traced["corrupted"] = 0.1  # ranked by clean: 1 6 3 8 2 7 4 9 0 5

    def chosen(count):
        return selection.chosen(traced, selection.Settings(count), "mini")

    assert chosen(1) == [2] and chosen(2) == [9, 3] and chosen(5) == [0, 4, 2, 3, 1]
    assert chosen(99) == chosen(10) == [5, 0, 9, 4, 7, 2, 8, 3, 6, 1]
    traced.loc[2, "subject_begin"] = 3  # a subject of one token does not show the sites: not a candidate
    assert chosen(1) == [7]
    traced["subject_begin"] = 3
    assert chosen(1) == [2], "without such prompts, of all"
