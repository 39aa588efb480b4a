"""Grouping and ordering exposures."""

from support.batches import copy_changed, small_set
from support.toys import Accumulate, Ordered, Scale, Toy2

from calbatch.cluster.planning.ordering import find_ordering_step, group_exposures
from calbatch.cluster.planning.unit_graph import DraftUnit


def test_the_first_step_that_needs_an_order_counts_unless_it_is_skipped():
    ordered = Ordered()
    assert find_ordering_step([Toy2(), ordered]) is ordered.accumulate
    assert find_ordering_step([Toy2(), Scale()]) is None
    ordered.accumulate.skip = True
    assert find_ordering_step([ordered]) is None


def test_exposures_are_grouped_and_ordered_by_their_headers(tmp_path):
    source = small_set().exposures[0]
    cards = {"a": ("NRCA1", 2.5), "b": ("NRCA2", 2.0), "c": ("NRCA1", 10.5), "d": ("NRCA1", None)}
    drafts = []
    for name, (detector, start) in cards.items():
        path = tmp_path / f"{name}_uncal.fits"
        drafts.append(DraftUnit(path=copy_changed(source, path, DETECTOR=detector, EXPSTART=start)))
    (tmp_path / "e_uncal.fits").write_text("no exposure")
    drafts.append(DraftUnit(path=tmp_path / "e_uncal.fits"))
    groups = group_exposures(drafts, Accumulate())
    assert [[draft.path.name[0] for draft in group] for group in groups] == [["d", "a", "c"], ["b"]]
