from dataclasses import dataclass, field

from eventspd_ros.evaluation.asking.questions import Settings
from eventspd_ros.evaluation.results import INLINE, OPTIONAL, NoPoints, Nothing, to_json


@dataclass(frozen=True, slots=True)
class Held:
    first: float | None
    further: dict[str, NoPoints]


@dataclass(frozen=True, slots=True, kw_only=True)
class Holder:
    asked: int | None = field(default=None, metadata=OPTIONAL)
    held: Held | None = field(metadata=INLINE)
    default: int | None = None
    rows: list[Held | Nothing]


def test_fields_stand_where_they_are_said_to_and_in_their_order():
    held = Held(None, {"a": NoPoints()})
    content = {"first": None, "further": {"a": {"points": 0}}}
    assert list(to_json(Holder(held=held, rows=[held, Nothing()])).items()) == [
        *content.items(),
        ("default", None),
        ("rows", [content, {}]),
    ]
    assert to_json(Holder(asked=0, held=None, rows=[])) == {"asked": 0, "default": None, "rows": []}


def test_whatever_a_result_holds_is_plain():
    assert to_json(Settings(uniform=3))["uniform"] == 3 and to_json((1, "a", None)) == [1, "a", None]
