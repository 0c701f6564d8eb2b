from latentlab.utils.names import some


def test_long_lists_of_names_are_cut():
    assert some(["a", "b"]) == "a, b"
    assert some(list("abcdefg")) == "a, b, c, d, e and 2 more"
    assert some(["a\udcff"]) == "a\\udcff"
