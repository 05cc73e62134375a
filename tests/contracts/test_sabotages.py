"""The table of mistakes is about the code as it is: every text is there, every test exists, every rule has one."""

import pytest

from tests.simulation.sabotage import PACKAGE, ROOT, break_it, file_of
from tests.simulation.sabotages import SABOTAGES, Sabotage

RULES = {f"R{number}" for number in range(1, 32)}


def test_every_rule_of_the_protocol_has_a_mistake_that_breaks_it() -> None:
    assert {each.rule for each in SABOTAGES} == RULES
    names = [(each.rule, each.name) for each in SABOTAGES]
    assert len(set(names)) == len(names)


@pytest.mark.parametrize("sabotage", SABOTAGES, ids=lambda each: f"{each.rule} {each.name}")
def test_a_mistake_can_be_made_and_names_tests_that_there_are(sabotage: Sabotage) -> None:
    source = (ROOT / PACKAGE / sabotage.file).read_text()
    assert break_it(sabotage, source) != source
    assert all(file_of(test).is_file() for test in sabotage.tests)


def test_a_text_that_has_changed_is_told() -> None:
    with pytest.raises(ValueError, match=r"its text is 0 times in .*, not once; write it anew"):
        break_it(SABOTAGES[0], "")
