"""Quick-looks in notebooks: images, and names as text."""

from calbatch.cluster.batch.watching.quick_looks_html import QuickLooks


def test_each_quick_look_is_an_image_with_its_name():
    found = QuickLooks("night", [("a_rate.fits", "AAAA"), ("<i>.fits", "BBBB")])
    assert repr(found) == "<2 quick-looks of night>"
    shown = found._repr_html_()
    assert [f"base64,{png}" in shown for png in ("AAAA", "BBBB")] == [True, True]
    assert "a_rate.fits" in shown
    assert "&lt;i&gt;.fits" in shown
    assert "<i>" not in shown


def test_a_batch_without_quick_looks_says_so():
    assert "night: no product has a quick-look yet" in QuickLooks("night", ())._repr_html_()
