"""The memory of refusals: bounded, forgetful when told so, and it keeps nothing behind."""

from random import Random

import pytest

from cachemw.ratelimit.recall import Recall


def test_memory_is_bounded() -> None:
    recall: Recall[int] = Recall(3)
    for number in range(10):
        recall.keep(number, number, now=0, until=5, concerns=frozenset((b"%d" % number,)))
    assert len(recall.kept) == 3
    assert recall.find(9, now=4) == (9, 0)
    assert recall.find(9, now=5) is None
    recall.forget(b"8")
    assert recall.find(8, now=1) is None
    assert recall.find(7, now=1) == (7, 0)


@pytest.mark.parametrize("seed", range(20))
def test_whatever_happens_it_knows_what_a_list_would_know(seed: int) -> None:
    random, now = Random(seed), 0
    recall: Recall[int] = Recall(8)
    known: dict[int, tuple[int, int, int, frozenset[bytes]]] = {}
    for step in range(300):
        now += random.choice([0, 0, 1])
        question = random.randrange(12)
        match random.choice(["keep", "keep", "find", "forget"]):
            case "keep":
                concerns = frozenset(b"%d" % random.randrange(6) for _ in range(2))
                recall.keep(question, step, now, now + 5, concerns)
                known.pop(question, None)
                known[question] = (step, now, now + 5, concerns)
                if len(known) > 8:
                    del known[next(iter(known))]
            case "find":
                if question in known and known[question][2] <= now:
                    del known[question]
                told = known.get(question)
                assert recall.find(question, now) == (told and told[:2])
            case _:
                gone = b"%d" % random.randrange(6)
                recall.forget(gone)
                known = {q: each for q, each in known.items() if gone not in each[3]}
        assert len(recall.kept) == len(known)
    for number in range(6):
        recall.forget(b"%d" % number)
    assert len(recall.kept) == 0
    assert not recall._about, "an index that outlives what it is about"
