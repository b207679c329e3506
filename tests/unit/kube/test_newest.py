from llmfleet.kube.newest import Newest


def test_what_is_told_late_changes_nothing() -> None:
    newest = Newest[str]()
    assert newest.put("a", 5)
    assert newest.put("a", 5)
    assert not newest.put("a", 4)
    assert not newest.drop("a", 4)
    assert newest.of("a") == 5
    assert newest.put("b", 3), "names are not compared with each other"
    assert newest.drop("a", 6)
    assert newest.of("a") == 0
    assert not newest.put("a", 5), "it is gone"
    assert newest.put("a", 7), "another one of its name"


def test_a_thousand_that_are_gone_are_remembered() -> None:
    newest = Newest[int]()
    for key in range(1001):
        newest.drop(key, 10)
    assert newest.put(0, 9)
    assert not newest.put(1, 9)
