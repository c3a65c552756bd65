"""Which layers are restored together: windows and restorations."""

from engram.tracing import restoration


def test_the_window_of_ten_is_five_before_to_four_after():
    assert restoration.window(20, 10, 48) == (15, 25)
    assert restoration.window(0, 10, 48) == (0, 5) and restoration.window(47, 10, 48) == (42, 48)
    assert restoration.window(3, 1, 8) == (3, 4)


def test_restorations_fill_every_layer_of_every_site_once():
    found = [
        (restored.site, layer)
        for restored in restoration.restorations(restoration.SITES, 10, 8)
        for layer in restored.layers
    ]
    assert sorted(found) == sorted((site, layer) for site in restoration.SITES for layer in range(8))
    assert (
        sum(restored.site == "mlp" for restored in restoration.restorations(restoration.SITES, 10, 8)) == 6
    )  # 3 centres share all layers
